"""Record a run while it trains: metrics.csv, loggers, diagnostics and progress."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from avalanche.core import BaseSGDPlugin
from torch import Tensor

from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.recipes.values import plain
from cl_prompts.experiments.results.history import usage_entropy
from cl_prompts.experiments.run_folder.folder import KEYS_FILE, RunFolder
from cl_prompts.experiments.tracking.loggers import (
    Logger,
    Loggers,
    TensorBoard,
    logger_class,
    pixels,
)
from cl_prompts.experiments.tracking.progress import Watcher
from cl_prompts.metrics.continual import class_forgetting, latest_task_accuracy
from cl_prompts.metrics.curve import Evaluation
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.prompted import key_similarity, prompt_usage
from cl_prompts.strategies.plugins.anytime import AnytimeEvaluation


class Tracker(BaseSGDPlugin):
    """Writer of losses and evaluations to the run folder and its loggers.

    Args:
        folder: run folder.
        anytime: evaluation plugin of the run; the tracker listens to it.
        settings: settings of the run.
        start: samples seen when this process started.
    """

    LOSS_EVERY = 10  # stream batches that a loss value averages over

    def __init__(
        self,
        folder: RunFolder,
        anytime: AnytimeEvaluation,
        settings: RunConfig,
        *,
        start: int = 0,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.anytime = anytime
        anytime.listeners.append(self.on_evaluation)
        self.settings = settings
        self.measure = "map" if anytime.evaluator.multi_label else "accuracy"
        self.tensorboard = TensorBoard(folder.path, start)
        loggers: list[Logger] = [self.tensorboard]
        if settings.tracker is not None:
            made = logger_class(settings.tracker)
            loggers.append(made(folder.path, plain(asdict(settings)), start))
        self.loggers = Loggers(*loggers)
        self.diagnostics = Diagnostics(folder, self.loggers, anytime.evaluator)
        self._losses: list[Tensor] = []
        self._samples = start

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Read the counters, unless training resumes within the task."""
        if strategy.place is None:
            self.diagnostics.before_task(strategy)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Collect the loss on the device; write it every few stream batches."""
        self._samples = strategy.samples_seen
        if getattr(strategy, "given_sums", None) is not None:
            return  # sums have no loss
        self._losses.append(strategy.loss.detach().reshape(()))
        if len(self._losses) >= self.LOSS_EVERY * strategy.online_iter:
            self._write_loss()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Write the remaining losses, and the diagnostics of the task."""
        self._write_loss()
        self.diagnostics.after_task(strategy, self._samples)

    # Not called state_dict: a plugin with that is part of the strategy's state.
    def records(self) -> dict[str, Any]:
        """Return the unwritten losses, and the counters at the start of the task."""
        losses = torch.stack(self._losses).cpu() if self._losses else torch.zeros(0)
        return {"losses": losses, "inside": self.diagnostics.before}

    def restore_records(self, state: dict[str, Any], device: torch.device) -> None:
        """Inverse of :meth:`records`."""
        self._losses = list(state["losses"].to(device).unbind())
        self.diagnostics.before = state["inside"]

    def on_evaluation(self, kind: str, evaluation: Evaluation) -> None:
        """Write one evaluation, "anytime" or "task_end"."""
        if math.isnan(evaluation.accuracy):
            return  # no class was seen yet
        samples = evaluation.samples_seen
        name = f"{kind}_{self.measure}"
        rows = [(samples, name, "seen", evaluation.accuracy)]
        rows += _rows(samples, name, "class", evaluation.by_class.tolist())
        rows += self._by_domain(samples, kind, evaluation)
        self.loggers.write(f"{self.measure}/{kind}", evaluation.accuracy, samples)
        for score, value in evaluation.scores.items():
            if not math.isnan(value):
                self.loggers.write(f"{score}/{kind}", value, samples)
                rows.append((samples, score, kind, value))
        if kind == "anytime":
            self.loggers.write(f"{self.measure}/a_auc", self.anytime.a_auc, samples)
        else:
            rows += self._by_task(samples)
            rows += self._forgetting(samples)
        self.folder.add_metrics(rows)

    def _by_task(self, samples: int) -> list[tuple[int, str, str, float]]:
        """Log the score of each task, and return it as rows."""
        latest = latest_task_accuracy(*self.anytime.course).tolist()
        rows = _rows(samples, f"task_end_{self.measure}", "task", latest)
        for _, _, scope, value in rows:
            tag = f"task_{self.measure}/{scope.replace(':', '_')}"
            self.loggers.write(tag, value, samples)
        if rows:
            mean = sum(value for *_, value in rows) / len(rows)
            self.loggers.write(f"task_{self.measure}/mean", mean, samples)
        return rows

    def _by_domain(
        self, samples: int, kind: str, evaluation: Evaluation
    ) -> list[tuple[int, str, str, float]]:
        """Log the score of each domain seen, and return it as rows."""
        rows = []
        for name, value in self.anytime.by_domain(evaluation).items():
            rows.append((samples, f"{kind}_{self.measure}", f"domain:{name}", value))
            if kind == "task_end":
                self.loggers.write(f"domain_{self.measure}/{name}", value, samples)
        return rows

    def _forgetting(self, samples: int) -> list[tuple[int, str, str, float]]:
        """Log the forgetting so far, and return it as rows; none if it is undefined."""
        lost = class_forgetting(self.anytime.course[0])
        lost = lost[~lost.isnan()]
        if not len(lost):
            return []
        forgetting = float(lost.mean())
        self.loggers.write("forgetting", forgetting, samples)
        return [(samples, "forgetting", "seen", forgetting)]

    def show_stream(self, stream: Mapping[str, Any], class_names: list[str]) -> None:
        """Draw the stream, once."""
        from cl_prompts.experiments.figures.maps import stream_chart  # loads Altair

        self.loggers.write("stream", pixels(stream_chart(stream, class_names)), 0)

    def finish(
        self,
        model: ContinualModel,
        results: Mapping[str, float | None],
        class_names: list[str],
    ) -> None:
        """Log class accuracy over samples, settings and final numbers; then close.

        Args:
            model: model of the strategy.
            results: final numbers; None where a number is not defined.
            class_names: class names of the data set.
        """
        from cl_prompts.experiments.figures.maps import class_chart  # loads Altair

        points = self.anytime.curve.points() if self.anytime.every else self.anytime.curve.task_ends
        if points:
            matrix = torch.stack([p.by_class for p in points], dim=1).numpy()
            samples = [p.samples_seen for p in points]
            measure = "average precision" if self.measure == "map" else "class accuracy"
            chart = class_chart(samples, matrix, class_names, measure=measure)
            self.loggers.write(f"class_{self.measure}", pixels(chart), samples[-1])
        self.diagnostics.finish(model, self._samples)
        auc = results.get("a_auc")
        points = self.anytime.curve.anytime
        if auc is not None and points and points[-1].samples_seen < self._samples:
            # The end of the stream is an extra point.
            self.loggers.write(f"{self.measure}/a_auc", auc, self._samples)
        for name, value in results.items():
            if value is not None:
                self.loggers.write(f"final/{name}", value, self._samples)
        self.tensorboard.compare(self.settings)
        self.close()

    def close(self) -> None:
        """Close the loggers."""
        self.loggers.close()

    def _write_loss(self) -> None:
        if self._losses:
            mean = float(torch.stack(self._losses).mean())
            self._losses.clear()
            self.folder.add_metrics([(self._samples, "loss", "train", mean)])
            self.loggers.write("loss/train", mean, self._samples)


class Diagnostics:
    """Writer of a strategy's diagnostics at the end of each task.

    ``metrics.csv`` gets ``prompt_usage`` (scope ``prompt:i``, cumulative), ``prompt_usage_entropy``
    (scope ``task``, bits) and ``buffer`` (scope ``class:c``, samples stored). The loggers get the
    same for each task, usage and buffer as histograms over prompts and classes, and also trainable
    parameters and forward passes per image. ``keys.npz`` gets the cosines between keys at the end.

    Args:
        folder: run folder.
        logger: loggers of the run.
        evaluator: its forward passes are counted apart from those of training.

    Attributes:
        before: counters at the start of the task.
    """

    def __init__(self, folder: RunFolder, logger: Loggers, evaluator: Any) -> None:
        self.folder = folder
        self.loggers = logger
        self.evaluator = evaluator
        self.before: dict[str, Any] = {}

    def before_task(self, strategy: Any) -> None:
        """Read the counters."""
        self.before = {"usage": prompt_usage(strategy.model), **self._count(strategy)}

    def after_task(self, strategy: Any, samples: int) -> None:
        """Write all diagnostics at ``samples`` stream samples seen."""
        rows = [*self._prompts(strategy, samples), *self._buffer(strategy, samples)]
        if rows:
            self.folder.add_metrics(rows)
        self._cost(strategy, samples)

    def finish(self, model: ContinualModel, samples: int) -> None:
        """Write and draw the cosines between keys."""
        similarity = key_similarity(model)
        if similarity is not None:
            from cl_prompts.experiments.figures.maps import key_chart  # loads Altair

            found = similarity.cpu().numpy()
            self.folder.write_arrays(KEYS_FILE, similarity=found)
            self.loggers.write("keys", pixels(key_chart(found)), samples)

    def _prompts(self, strategy: Any, samples: int) -> list[tuple[int, str, str, float]]:
        usage = prompt_usage(strategy.model)
        if usage is None:
            return []
        counts = enumerate(usage.tolist())
        rows = [(samples, "prompt_usage", f"prompt:{i}", float(n)) for i, n in counts]
        earlier = self.before.get("usage")
        of_task = (usage if earlier is None else usage - earlier).tolist()
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
        spent = {name: value - self.before.get(name, 0.0) for name, value in now.items()}
        per_pass = strategy.model.backbone.forward_macs
        for kind, images in (("train", "trained"), ("evaluation", "evaluated")):
            if spent[images]:
                passes = spent[kind] / per_pass / spent[images]
                self.loggers.write(f"cost/forward_passes_{kind}", passes, samples)

    def _count(self, strategy: Any) -> dict[str, float]:
        return {
            # The counter of the ViT includes evaluation.
            "train": strategy.model.backbone.counter.macs - self.evaluator.macs,
            "trained": strategy.samples_seen,
            "evaluation": self.evaluator.macs,
            "evaluated": self.evaluator.images,
        }


class ProgressLine(BaseSGDPlugin):
    """Reporter of samples seen and current A_AUC to a display.

    Args:
        total: stream samples of the whole run, epochs included.
        anytime: source of A_AUC.
        watcher: receiver.
    """

    def __init__(self, total: int, anytime: AnytimeEvaluation, watcher: Watcher) -> None:
        super().__init__()
        self.total = total
        self.anytime = anytime
        self.watcher = watcher

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Report the progress."""
        a_auc = self.anytime.a_auc if self.anytime.curve.anytime else None
        self.watcher.advance(strategy.samples_seen, self.total, a_auc)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Report A_AUC including the end of the stream, as in the table."""
        self.after_training_iteration(strategy)


def _rows(
    samples: int, metric: str, scope: str, values: list[float]
) -> list[tuple[int, str, str, float]]:
    """Return rows of metrics.csv for values by class or task, without NaN."""
    numbered = enumerate(values)
    return [(samples, metric, f"{scope}:{i}", v) for i, v in numbered if not math.isnan(v)]
