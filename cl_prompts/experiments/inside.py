"""Looking inside a run: use of prompts, keys, replay memory and cost, written at task ends and read
back for the report."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cl_prompts.errors import InputError
from cl_prompts.experiments import pictures_inside
from cl_prompts.experiments.picture_style import Floats
from cl_prompts.experiments.results import Run
from cl_prompts.experiments.run_folder import RunFolder
from cl_prompts.models.inspection import key_similarity, prompt_usage

KEYS_FILE = "keys.npz"


class Inside:
    """Writes what one sees inside a strategy at the end of each task. What it writes does not
    depend on earlier tasks, so that a resumed run writes the same.

    To ``metrics.csv``: ``prompt_usage`` (scope ``prompt:i``, cumulative), ``prompt_usage_entropy``
    (scope ``task``, bits), ``memory`` (scope ``class:c``, samples held). To TensorBoard: the same
    (use and memory as histograms over prompts and classes), trainable parameters, and forward
    passes per image, each of the task alone. To ``keys.npz``: the cosine between keys, the last
    task's.

    Args:
        folder: the run's.
        board: TensorBoard's writer.
        evaluator: of the run; its passes are told apart from those of training.
    """

    def __init__(self, folder: RunFolder, board: SummaryWriter, evaluator: Any) -> None:
        self.folder, self.board, self.evaluator = folder, board, evaluator
        self._usage: Tensor | None = None
        self._passes: dict[str, float] = {}

    def before_task(self, strategy: Any) -> None:
        """Note where counters stand."""
        self._usage, self._passes = prompt_usage(strategy.model), self._count(strategy)

    def after_task(self, strategy: Any, samples: int) -> None:
        """Write all there is; ``samples`` of the stream have been seen."""
        rows = [*self._prompts(strategy, samples), *self._memory(strategy, samples)]
        if rows:
            self.folder.add_metrics(rows)
        self._keys(strategy)
        self._cost(strategy, samples)

    def finish(self, samples: int) -> None:
        """The map of the keys, once."""
        similarity = key_similarity_of(self.folder.path)
        if similarity is not None:
            self.board.add_figure("keys", pictures_inside.key_figure(similarity), samples)

    def _prompts(self, strategy: Any, samples: int) -> list[tuple[int, str, str, float]]:
        usage = prompt_usage(strategy.model)
        if usage is None:
            return []
        of_task = usage if self._usage is None else usage - self._usage
        rows = [
            (samples, "prompt_usage", f"prompt:{i}", float(n)) for i, n in enumerate(usage.tolist())
        ]
        _histogram(self.board, "prompt_usage", of_task.tolist(), samples)
        entropy = float(usage_entropy([of_task.tolist()])[0])
        if entropy == entropy:
            rows.append((samples, "prompt_usage_entropy", "task", entropy))
            self.board.add_scalar("prompt_usage_entropy", entropy, samples)
        return rows

    def _memory(self, strategy: Any, samples: int) -> list[tuple[int, str, str, float]]:
        if not len(strategy.replay):
            return []
        labels = strategy.replay.labels()
        held = (
            (labels > 0).sum(dim=0)
            if labels.dim() == 2
            else labels.bincount(minlength=strategy.model.n_classes)
        )
        _histogram(self.board, "memory", held.tolist(), samples)
        return [
            (samples, "memory", f"class:{c}", float(n)) for c, n in enumerate(held.tolist()) if n
        ]

    def _keys(self, strategy: Any) -> None:
        similarity = key_similarity(strategy.model)
        if similarity is not None:
            np.savez_compressed(self.folder.path / KEYS_FILE, similarity=similarity.cpu().numpy())

    def _cost(self, strategy: Any, samples: int) -> None:
        self.board.add_scalar("cost/trainable_parameters", strategy.model.n_learned, samples)
        spent = {
            name: value - self._passes.get(name, 0.0)
            for name, value in self._count(strategy).items()
        }
        unit = strategy.model.backbone.forward_macs
        for kind, images in (("train", "trained"), ("evaluation", "evaluated")):
            if spent[images]:
                self.board.add_scalar(
                    f"cost/forward_passes_{kind}", spent[kind] / unit / spent[images], samples
                )

    def _count(self, strategy: Any) -> dict[str, float]:
        return {
            "train": strategy.model.backbone.counter.macs - self.evaluator.macs,
            "trained": strategy.samples_seen,
            "evaluation": self.evaluator.macs,
            "evaluated": self.evaluator.images,
        }


def usage_entropy(counts: ArrayLike) -> Floats:
    """(tasks, prompts) uses -> (tasks,) entropy in bits of how each task's uses are shared; NaN for
    a task without any."""
    values = np.asarray(counts, float)
    total = values.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = values / total
        entropy = -np.where(share > 0, share * np.log2(share), 0.0).sum(axis=1)
    return np.where(total[:, 0] > 0, np.abs(entropy), np.nan)


def memory_matrix(run: Run) -> Floats:
    """(tasks, classes) samples that the replay memory held at the end of each task; no rows without
    a memory."""
    series = run.metrics.get("memory", {})
    if not series:
        return np.zeros((0, run.summary["n_classes"]))
    by_class = [dict(series.get(f"class:{c}", [])) for c in range(run.summary["n_classes"])]
    return np.array([[held.get(end, 0.0) for held in by_class] for end in run.summary["task_ends"]])


def key_similarity_of(folder: Path) -> Floats | None:
    """(prompts, prompts) cosine between keys after the last task of a run folder's run, None for a
    method without keys.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / KEYS_FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file["similarity"], float)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"cannot read {path} of a run: repeat the run or delete that file"
        ) from error


def _histogram(board: SummaryWriter, tag: str, counts: list[float], step: int) -> None:
    """Index of a prompt or class as value, its count as height."""
    total = sum(counts)
    if total:
        board.add_histogram_raw(
            tag,
            0,
            len(counts),
            total,
            sum(i * c for i, c in enumerate(counts)),
            sum(i * i * c for i, c in enumerate(counts)),
            [i + 0.5 for i in range(len(counts))],
            counts,
            step,
        )
