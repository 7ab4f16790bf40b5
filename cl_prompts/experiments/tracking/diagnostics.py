"""Diagnostics at task ends: prompt usage, keys, replay buffer and cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from cl_prompts.experiments.results.history import usage_entropy
from cl_prompts.experiments.run_folder.folder import KEYS_FILE, RunFolder
from cl_prompts.experiments.tracking.loggers import Loggers, pixels
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.prompted import key_similarity, prompt_usage


class Diagnostics:
    """Writer of a strategy's diagnostics at the end of each task.

    To ``metrics.csv``: ``prompt_usage`` (scope ``prompt:i``, cumulative), ``prompt_usage_entropy``
    (scope ``task``, bits), ``buffer`` (scope ``class:c``, samples held). To loggers the same, usage
    and buffer as histograms over prompts and classes, trainable parameters, and forward passes per
    image, each of the task alone. To ``keys.npz``, at the end of the run: the cosine between keys.

    Args:
        folder: of the run.
        logger: see :class:`~cl_prompts.experiments.tracking.loggers.Loggers`.
        evaluator: of the run; its forward passes are counted apart from those of training.
    """

    def __init__(self, folder: RunFolder, logger: Loggers, evaluator: Any) -> None:
        self.folder = folder
        self.loggers = logger
        self.evaluator = evaluator
        self._usage: Tensor | None = None
        self._passes: dict[str, float] = {}

    def before_task(self, strategy: Any) -> None:
        """Note the counters."""
        self._usage = prompt_usage(strategy.model)
        self._passes = self._count(strategy)

    def state_dict(self) -> dict[str, Any]:
        """The counters at the start of the task."""
        return {"usage": self._usage, "passes": dict(self._passes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self._usage = state["usage"]
        self._passes = dict(state["passes"])

    def after_task(self, strategy: Any, samples: int) -> None:
        """Write everything, with ``samples`` of the stream seen."""
        rows = [*self._prompts(strategy, samples), *self._buffer(strategy, samples)]
        if rows:
            self.folder.add_metrics(rows)
        self._cost(strategy, samples)

    def finish(self, model: ContinualModel, samples: int) -> None:
        """Write and draw the similarity of the keys, once."""
        similarity = key_similarity(model)
        if similarity is not None:
            from cl_prompts.experiments.figures import key_chart  # loads Altair

            found = similarity.cpu().numpy()
            self.folder.write_arrays(KEYS_FILE, similarity=found)
            self.loggers.write("keys", pixels(key_chart(found)), samples)

    def _prompts(self, strategy: Any, samples: int) -> list[tuple[int, str, str, float]]:
        usage = prompt_usage(strategy.model)
        if usage is None:
            return []
        counts = enumerate(usage.tolist())
        rows = [(samples, "prompt_usage", f"prompt:{i}", float(n)) for i, n in counts]
        of_task = (usage if self._usage is None else usage - self._usage).tolist()
        self.loggers.write("prompt_usage", of_task, samples)
        entropy = float(usage_entropy([of_task])[0])
        if not np.isnan(entropy):
            rows.append((samples, "prompt_usage_entropy", "task", entropy))
            self.loggers.write("prompt_usage_entropy", entropy, samples)
        return rows

    def _buffer(self, strategy: Any, samples: int) -> list[tuple[int, str, str, float]]:
        if not len(strategy.replay):
            return []
        labels = strategy.replay.labels()
        if labels.dim() == 2:
            held = (labels > 0).sum(dim=0).tolist()
        else:
            held = labels.bincount(minlength=strategy.model.n_classes).tolist()
        self.loggers.write("buffer", held, samples)
        return [(samples, "buffer", f"class:{c}", float(n)) for c, n in enumerate(held) if n]

    def _cost(self, strategy: Any, samples: int) -> None:
        self.loggers.write("cost/trainable_parameters", strategy.model.n_learned, samples)
        now = self._count(strategy)
        spent = {name: value - self._passes.get(name, 0.0) for name, value in now.items()}
        per_pass = strategy.model.backbone.forward_macs
        for kind, images in (("train", "trained"), ("evaluation", "evaluated")):
            if spent[images]:
                passes = spent[kind] / per_pass / spent[images]
                self.loggers.write(f"cost/forward_passes_{kind}", passes, samples)

    def _count(self, strategy: Any) -> dict[str, float]:
        return {
            # One counter holds all passes of the ViT, those of evaluation among them.
            "train": strategy.model.backbone.counter.macs - self.evaluator.macs,
            "trained": strategy.samples_seen,
            "evaluation": self.evaluator.macs,
            "evaluated": self.evaluator.images,
        }
