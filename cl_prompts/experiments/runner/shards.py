"""Divide the stream of one run into shards, whose sums add up to those of the whole stream.

A worker computes the features of its part of the stream, and writes the sums of each interval
between two evaluations. The run then adds interval by interval, and evaluates.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from cl_prompts.backbones.devices import threads
from cl_prompts.backbones.pixels import check_input
from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.closed_form.sums import not_sums, zero
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.stored_features import StoredFeatures
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.plans import PlannedRun
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.executors import Job, Launching, worker_resources
from cl_prompts.experiments.runner.run import Run, takes_one_thread
from cl_prompts.experiments.runner.storing import image_batches
from cl_prompts.strategies.base.prototype import GivenSums, PrototypeStrategy
from cl_prompts.strategies.evaluation.anytime import following
from cl_prompts.user_code import label_of

#: folder of the shards within a run folder
FOLDER = "shards"
#: file of a shard's test features
TEST = "test.safetensors"
#: stored features that a worker reads at once; images come in the batches of training
_ROWS = 1024


@dataclass(frozen=True)
class ShardJob(Job):
    """A shard of a run's stream for an executor.

    Attributes:
        shards: number of shards.
    """

    shards: int = 1

    @property
    def finished(self) -> bool:
        """Whether all sums of the shard are written."""
        return (self.run.folder / FOLDER / str(self.number) / "done").is_file()

    def outcome(self) -> str:
        """Return how the shard finished."""
        return "finished"

    def execute(self) -> None:
        """Compute the shard."""
        compute_shard(self.run, self.number, self.shards, worker_resources())


@dataclass(frozen=True)
class Sharding:
    """Division of a run.

    Attributes:
        shards: number of shards.
        how: executor of the shards.
    """

    shards: int
    how: Launching

    def write(self, run: Path) -> None:
        """Write the division into the folder of a run, so that a resumed run knows it."""
        (run / FOLDER).mkdir(parents=True, exist_ok=True)
        files.write_json(run / FOLDER / "plan.json", asdict(self))

    @classmethod
    def of(cls, run: Path) -> Sharding | None:
        """Read the division of an unfinished run; None without one."""
        place = run / FOLDER / "plan.json"
        if not place.is_file():
            return None
        found = files.read_json(place)
        return cls(found["shards"], Launching(**found["how"]))


@dataclass
class Interval:
    """Part of the stream between two evaluations.

    Attributes:
        number: position among all intervals.
        task: number of its task.
        end: samples of the task up to its end.
        batches: rows of the training set, in batches of the stream.
    """

    number: int
    task: int
    end: int
    batches: list[np.ndarray]

    @property
    def file(self) -> str:
        """Name of the file of its sums."""
        return f"{self.number:06d}.safetensors"


def check_shards(run: Run) -> list[str]:
    """Check that the sums of a run can be computed in shards.

    Returns:
        Warnings.

    Raises:
        InputError: they cannot.
    """
    name, strategy = label_of(run.settings.strategy), run.strategy
    if not isinstance(strategy, PrototypeStrategy):
        raise InputError(f"{name} trains by gradients, so --shards is not for it: use recommended")
    reason = not_sums(strategy.model.head)
    if reason is not None:
        raise InputError(f"{name} cannot be divided into shards: {reason}")
    if run.anytime.points == "look_ahead":
        raise InputError("--shards has no points=look_ahead: use default or published")
    train = run.data.train
    changed = not strategy.plain_images and train.plain().transform is not train.transform
    if changed or strategy.augmented_views:
        raise InputError(
            f"{name} learns from augmented images, and --shards only from plain ones: "
            "set augment=false and augmented_views=false"
        )
    parts = strategy.model.head.modules()
    if any(isinstance(part, HeldOutSample) and part.reservoir.size for part in parts):
        return [f"{name} chooses by a random sample, which shards draw in another way"]
    return []


def intervals_of(run: Run) -> list[Interval]:
    """Return the intervals of an untrained run, in stream order."""
    strategy, anytime = run.strategy, run.anytime
    generator = torch.Generator()
    generator.set_state(strategy.shuffler.get_state())
    found: list[Interval] = []
    samples, threshold = 0, anytime.next_threshold
    for task, of_task in enumerate(run.split.tasks):
        rows = np.asarray(of_task)
        if not run.split.ordered:
            rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        current: list[np.ndarray] = []
        for start in range(0, len(rows), strategy.train_mb_size):
            current.append(rows[start : start + strategy.train_mb_size])
            end = start + len(current[-1])
            samples += len(current[-1])
            before = threshold
            if anytime.every is not None:
                threshold = following(samples, before, anytime.every, anytime.points)
            if threshold != before or end == len(rows):
                found.append(Interval(len(found), task, end, current))
                current = []
    return found


def pieces_of(intervals: Sequence[Interval], shard: int, shards: int) -> Iterator[Interval]:
    """Yield the part of each interval that belongs to a shard, counted from 1."""
    total = sum(len(interval.batches) for interval in intervals)
    first, last = (total * number // shards for number in (shard - 1, shard))
    start = 0
    for interval in intervals:
        mine = interval.batches[max(0, first - start) : max(0, last - start)]
        start += len(interval.batches)
        if mine:
            yield replace(interval, batches=mine)


# ---------------------------------------------------------------------------------- worker


def compute_shard(planned: PlannedRun, shard: int, shards: int, resources: Resources) -> None:
    """Write the sums and test features of a shard; what is written already is not computed again.

    Args:
        planned: the run.
        shard: number of the shard, from 1.
        shards: number of shards.
        resources: backbones and image checks to share.

    Raises:
        RunError: features that are not finite, or a full disk.
    """
    with threads(one=takes_one_thread(planned.settings)):
        run = build_run(planned.settings, resources)
        run.strategy.model.to(run.strategy.device).eval()
        folder = planned.folder / FOLDER / str(shard)
        folder.mkdir(parents=True, exist_ok=True)
        intervals = intervals_of(run)
        head: Any = run.strategy.model.head
        # A kernel width that comes from the first batch is then the same in all shards.
        _learn(run, intervals[0], intervals[0].batches[:1])
        for piece in pieces_of(intervals, shard, shards):
            if not (folder / piece.file).is_file():
                zero(head)
                _learn(run, piece, piece.batches)
                _write(folder, piece.file, head.state_dict())
        rows = _test_rows(run, shard, shards)
        if len(rows) and not (folder / TEST).is_file():
            size = run.anytime.evaluator.batch_size
            batches = [rows[i : i + size] for i in range(0, len(rows), size)]
            found = [features for _, features in _features(run, run.data.test, batches)]
            _write(folder, TEST, {"features": torch.cat(found)})
        files.replace(folder / "done", [b""])


def _write(folder: Path, name: str, state: dict[str, Tensor]) -> None:
    kept = {name: values.cpu().contiguous().clone() for name, values in state.items()}
    files.replace(folder / name, [save(kept)])


def _learn(run: Run, piece: Interval, batches: Sequence[np.ndarray]) -> None:
    """Add batches of an interval to the head."""
    model: Any = run.strategy.model
    targets = run.data.train.targets
    visible = torch.from_numpy(run.split.visible[piece.task])
    for rows, features in _features(run, run.data.train.plain(), batches):
        labels = torch.from_numpy(targets[rows])
        if run.data.multi_label:
            labels = (labels * visible).float()
        model.learn(features, labels.to(features.device), visible.to(features.device))


@torch.no_grad()
def _features(
    run: Run, images: ImageSet, batches: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield rows and their features."""
    strategy: Any = run.strategy
    read: Iterable[tuple[np.ndarray, Tensor]]
    if isinstance(images.images, StoredFeatures):
        rows = np.concatenate(batches)
        parts = [rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS)]
        read = ((part, images.images.batch(images.rows[part])) for part in parts)
    else:
        workers = run.settings.num_workers or 0
        loaded = image_batches(images, [rows.tolist() for rows in batches], workers)
        read = zip(batches, loaded, strict=True)
    for part, values in read:
        check_input(strategy.model.backbone, values)
        features = strategy.model.features(values.to(strategy.device))
        if not bool(features.isfinite().all()):
            raise RunError("features are not finite: use precision=fp32, or check the weights")
        yield part, features


def _test_rows(run: Run, shard: int, shards: int) -> np.ndarray:
    return np.array_split(np.arange(len(run.data.test)), shards)[shard - 1]


# --------------------------------------------------------------------------------- reducer


def use_shards(run: Run, folder: Path, shards: int) -> None:
    """Let an untrained run take its sums and test features from finished shards."""
    strategy: Any = run.strategy
    intervals = intervals_of(run)
    evaluator = run.anytime.evaluator
    evaluator.device = strategy.device
    held = defaultdict(list)
    for shard in range(1, shards + 1):
        place = folder / FOLDER / str(shard)
        for piece in pieces_of(intervals, shard, shards):
            held[piece.number].append(place / piece.file)
        rows = torch.from_numpy(_test_rows(run, shard, shards))
        if len(rows):
            evaluator.put(strategy.model, rows, load_file(place / TEST)["features"])

    def sums_of(task: int) -> Iterator[GivenSums]:
        for interval in intervals:
            if interval.task == task:
                rows = np.concatenate(interval.batches)
                found = run.data.train.targets[rows]
                if run.data.multi_label:
                    found = (found * run.split.visible[task]).max(axis=0, keepdims=True)
                labels = torch.from_numpy(np.unique(found) if found.ndim == 1 else found)
                states = partial(map, load_file, held[interval.number])
                yield GivenSums(interval.end, len(rows), labels, states)

    strategy.given_sums = sums_of


def remove_shards(folder: Path) -> None:
    """Remove the shards of a finished run."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
