"""Avalanche benchmarks over splits: lazy streams of experiences. The only module of this package with Avalanche in it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from avalanche.benchmarks import CLScenario, DatasetExperience
from avalanche.benchmarks.scenarios.generic_scenario import SequenceCLStream
from avalanche.benchmarks.utils import DataAttribute, TaskAwareSupervisedClassificationDataset, TaskLabels
from avalanche.benchmarks.utils.flat_data import ConstantSequence

from cl_prompts.errors import InputError
from cl_prompts.scenarios.blurry_split import BlurrySplit
from cl_prompts.scenarios.si_blurry import (
    Leftover,
    check_labels,
    count_classes,
    disjoint_split,
    i_blurry_split,
    iid_split,
    si_blurry_split,
)


def si_blurry_benchmark(
    train: Any,
    test: Any,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    stochastic: bool = True,
    leftover: Leftover = "keep",
    task_labels: bool = True,
    split: BlurrySplit | None = None,
) -> CLScenario:
    """A Si-Blurry stream as an Avalanche benchmark: ``benchmark_from_split`` of ``si_blurry_split(train.targets, ...)``.

    Args:
        train, test, task_labels: see ``benchmark_from_split``.
        n_tasks, disjoint_percent, blurry_percent, seed, stochastic, leftover: see ``si_blurry_split``.
        split: use this split instead of drawing one; a parameter that contradicts it is refused.
    """
    parameters: dict[str, Any] = {
        "n_tasks": n_tasks,
        "disjoint_percent": disjoint_percent,
        "blurry_percent": blurry_percent,
        "seed": seed,
        "stochastic": stochastic,
        "leftover": leftover,
    }
    if split is None:
        split = si_blurry_split(_targets("train", train), **parameters)
    defaults = inspect.signature(si_blurry_split).parameters
    for name, value in parameters.items():
        if value not in (getattr(split, name), defaults[name].default):
            raise InputError(f"{name}={value!r} contradicts the given split, which has {getattr(split, name)!r}")
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def i_blurry_benchmark(
    train: Any,
    test: Any,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    leftover: Leftover = "keep",
    task_labels: bool = True,
) -> CLScenario:
    """``benchmark_from_split`` of ``i_blurry_split(train.targets, ...)``."""
    split = i_blurry_split(
        _targets("train", train),
        n_tasks=n_tasks,
        disjoint_percent=disjoint_percent,
        blurry_percent=blurry_percent,
        seed=seed,
        leftover=leftover,
    )
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def disjoint_benchmark(
    train: Any, test: Any, *, n_tasks: int = 5, seed: int = 1, leftover: Leftover = "keep", task_labels: bool = True
) -> CLScenario:
    """``benchmark_from_split`` of ``disjoint_split(train.targets, ...)``."""
    split = disjoint_split(_targets("train", train), n_tasks=n_tasks, seed=seed, leftover=leftover)
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def iid_benchmark(train: Any, test: Any, *, seed: int = 1, task_labels: bool = True) -> CLScenario:
    """One experience with all data in a seeded random order, for the joint upper bound (``iid_split``)."""
    split = iid_split(_targets("train", train), seed=seed)
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def benchmark_from_split(train: Any, test: Any, split: BlurrySplit, *, task_labels: bool = True) -> CLScenario:
    """Wrap two data sets and a split as an Avalanche benchmark, without touching an image.

    ``train_stream`` has one experience a task, built when it is first asked for and kept; ``test_stream`` has a single
    one with the whole test set, so anytime evaluation restricts itself to seen classes in the strategy or the metric.
    The split stands at ``benchmark.split``.

    An experience is a ``DatasetExperience`` whose data set gives ``(x, y, 0)``: a constant task label, which LwF, DER
    and others need. Its further attributes are the sets ``classes_in_this_experience``, ``previous_classes``,
    ``classes_seen_so_far`` (with this one), ``future_classes`` (those of the stream not seen so far), ``new_classes``
    (in this one and not before), ``recurring_future_classes`` (seen so far and coming again); ``indices`` (data-set
    rows in stream order), and ``ordered=True``: the order of samples is part of the scenario. Avalanche's own
    strategies shuffle unless told not to: train them with ``strategy.train(experience, shuffle=False)``.

    Tasks may be empty. With ``shuffle=False`` Naive, Replay, EWC, LwF and most others of Avalanche's strategies pass
    over an empty experience; DER and AGEM, which build a memory from it, do not, nor can ``IncrementalClassifier``
    adapt to it (give the model a head for all classes), and with ``shuffle=True`` torch refuses to sample from it. The
    remedy for these is to skip experiences with ``len(experience.dataset) == 0``.

    Args:
        train, test: map-style data sets, items ``(x, y)``, with labels 0..C-1 in ``.targets``, the same C in both.
        split: made from ``train.targets``.
        task_labels: set ``task_label=0`` and ``task_labels=[0]`` on the experiences too, as in Avalanche's classic
            benchmarks. It puts ``/Task000`` into the names of metrics; False gives names without it.

    Raises:
        InputError: targets missing or unfit, or a split of other data.
    """
    labels, n_classes = check_labels(_targets("train", train), "train.targets")
    test_labels, n_test_classes = check_labels(_targets("test", test), "test.targets")
    if n_classes != n_test_classes:
        raise InputError(f"train.targets holds {n_classes} classes and test.targets {n_test_classes}: they must agree")
    same_size = (split.n_samples, split.n_classes) == (len(labels), n_classes)
    if not same_size or not np.array_equal(split.counts, count_classes(labels, split.tasks, n_classes)):
        raise InputError(f"the split does not fit train.targets: it was made from other labels ({split!r})")
    whole_test = np.arange(len(test_labels))
    streams = [
        LazyStream("train", train, labels, split.tasks, split.counts, task_labels),
        LazyStream("test", test, test_labels, [whole_test], np.bincount(test_labels)[None], task_labels),
    ]
    benchmark = CLScenario(streams)
    benchmark.split = split
    for stream in streams:
        stream.benchmark = benchmark
    return benchmark


class LazyStream(SequenceCLStream):
    """A stream whose experiences are views on one data set, each made when first asked for and then kept.

    Slices share the experiences, and these name the whole stream as their origin.

    Args:
        name: "train" or "test".
        data: map-style data set.
        labels: its labels, (n,) int64.
        rows: per experience the data-set rows in stream order.
        counts: samples of each class in each experience, (experiences, classes).
        task_labels: set ``task_label`` and ``task_labels`` on experiences.
    """

    def __init__(
        self,
        name: str,
        data: Any,
        labels: np.ndarray,
        rows: Sequence[np.ndarray],
        counts: np.ndarray,
        task_labels: bool,
    ) -> None:
        attributes = [DataAttribute(_Labels(labels), "targets"), TaskLabels(_Zeros(len(labels)))]
        self._data = TaskAwareSupervisedClassificationDataset([data], data_attributes=attributes)
        self._rows = rows
        self._present = counts > 0
        self._task_labels = task_labels
        self._made: dict[int, DatasetExperience] = {}
        self._whole = self
        super().__init__(name, benchmark=None, set_stream_info=False)

    def _full_length(self) -> int:
        return len(self._rows)

    def _make_experience(self, experience_idx: int) -> DatasetExperience:
        index = range(len(self._rows))[experience_idx]  # negative ones too
        if index not in self._made:
            self._made[index] = self._build(index)
        return self._made[index]

    def _build(self, index: int) -> DatasetExperience:
        rows = self._rows[index]
        # A list: Avalanche needs a hundred times longer for a tensor of indices.
        experience = DatasetExperience(dataset=self._data.subset(rows.tolist()), current_experience=index)
        experience.origin_stream = self._whole
        experience.indices = rows
        experience.ordered = True
        for name, classes in self._timeline(index).items():
            setattr(experience, name, classes)
        if self._task_labels:
            experience.task_label = 0
            experience.task_labels = [0]
        return experience

    def _timeline(self, index: int) -> dict[str, set[int]]:
        now = self._present[index]
        before, later = self._present[:index].any(axis=0), self._present[index + 1 :].any(axis=0)
        seen = before | now
        masks = {
            "classes_in_this_experience": now,
            "previous_classes": before,
            "classes_seen_so_far": seen,
            "future_classes": later & ~seen,
            "new_classes": now & ~before,
            "recurring_future_classes": later & seen,
        }
        return {name: set(np.flatnonzero(mask).tolist()) for name, mask in masks.items()}


class _Labels(Sequence[int]):
    """Labels as Python integers out of an array that all experiences share; a list would take five times its memory."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, item: Any) -> Any:
        return int(self._values[item])


class _Zeros(ConstantSequence):
    """Avalanche's constant sequence, but with a first element even when empty.

    Avalanche reads the task label of an experience from its element 0, also when the experience is empty.
    """

    def __init__(self, size: int) -> None:
        super().__init__(0, size)

    def __getitem__(self, index: Any) -> Any:
        return 0 if index == 0 else super().__getitem__(index)

    def __iter__(self) -> Iterator[int]:
        return iter([0] * len(self))

    def subset(self, indices: Sequence[int]) -> _Zeros:
        return _Zeros(len(indices))


def _targets(name: str, data: Any) -> Any:
    targets = getattr(data, "targets", None)
    if targets is None or len(targets) != len(data):
        raise InputError(f"the {name} data set must have one label per item in .targets (a list, an array or a tensor)")
    return targets
