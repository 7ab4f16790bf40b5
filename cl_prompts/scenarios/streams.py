"""Avalanche streams whose experiences are lazy views on one data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from avalanche.benchmarks import DatasetExperience
from avalanche.benchmarks.scenarios.generic_scenario import SequenceCLStream
from avalanche.benchmarks.utils import TaskAwareSupervisedClassificationDataset

from cl_prompts.datasets.classes import (
    check_label_matrix,
    check_labels,
    count_classes,
    count_positives,
    domains_of,
)
from cl_prompts.errors import InputError
from cl_prompts.scenarios.base_split import BaseSplit
from cl_prompts.scenarios.domain_incremental import DomainSplit
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.split import Split
from cl_prompts.scenarios.stream_data import multi_label_data, single_label_data


class LazyStream(SequenceCLStream):
    """A stream whose experiences are made when first asked for and then kept.

    Slices share the experiences, and these name the whole stream as their origin.

    Example:
        >>> from cl_prompts.scenarios import Split, benchmark_from_split
        >>> class Numbers(list):
        ...     targets = [0, 1, 0, 1]
        >>> data = Numbers((number, number % 2) for number in range(4))
        >>> split = Split.of("by hand", data.targets, [[0, 2], [3, 1]])
        >>> stream = benchmark_from_split(data, data, split).train_stream
        >>> second = stream[1]
        >>> second.indices.tolist(), second.classes_in_this_experience, second.previous_classes
        ([3, 1], {1}, {0})
        >>> list(second.dataset), stream.joint().indices.tolist()
        ([[3, 1, 0], [1, 1, 0]], [0, 1, 2, 3])

    Args:
        name: "train" or "test".
        data: per experience the data set on which it is a view; they may be one and the same.
        rows: per experience the data-set rows in stream order.
        present: which classes each experience shows, (experiences, classes) bool.
        marks: further attributes that all experiences get.
        joint_data: makes the data set that shows the labels of these classes, (classes,) bool, for
            :meth:`joint`.
    """

    def __init__(
        self,
        name: str,
        data: Sequence[TaskAwareSupervisedClassificationDataset],
        rows: Sequence[np.ndarray],
        present: np.ndarray,
        *,
        marks: dict[str, Any],
        joint_data: Callable[[np.ndarray], TaskAwareSupervisedClassificationDataset] | None = None,
    ) -> None:
        self._data = data
        self._joint_data = joint_data
        self._rows = rows
        self._present = present
        n = len(present)
        ever = present.any(axis=0)
        # Experiences in which each class appears first and last; n and -1 where it never does.
        self._first = np.where(ever, present.argmax(axis=0), n)
        self._last = np.where(ever, n - 1 - present[::-1].argmax(axis=0), -1)
        # Avalanche's classic benchmarks have task labels, too.
        self._marks = {**marks, "task_label": 0, "task_labels": [0]}
        self._made: dict[int, DatasetExperience] = {}
        # Slices are made as copies, and keep this very object.
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
        data = self._data[index].subset(rows.tolist())
        experience = DatasetExperience(dataset=data, current_experience=index)
        experience.origin_stream = self._whole
        experience.indices = rows
        for name, value in {**self._timeline(index), **self._marks}.items():
            setattr(experience, name, value)
        return experience

    def joint(self, experiences: Sequence[int] | None = None) -> DatasetExperience:
        """Experiences of these numbers (all by default) as one: each of their images once, with all
        labels that are visible in any."""
        chosen = list(range(len(self._rows)) if experiences is None else experiences)
        # A class is annotated in the union where one of the parts annotates it.
        present = np.asarray(self._present[chosen].any(axis=0))
        data = self._data[chosen[0]] if self._joint_data is None else self._joint_data(present)
        rows = np.unique(np.concatenate([self._rows[i] for i in chosen]))
        experience = DatasetExperience(dataset=data.subset(rows.tolist()), current_experience=0)
        experience.origin_stream = self._whole
        experience.indices = rows
        experience.classes_in_this_experience = set(np.flatnonzero(present).tolist())
        for name, value in self._marks.items():
            setattr(experience, name, value)
        return experience

    def _timeline(self, index: int) -> dict[str, set[int]]:
        first, last = self._first, self._last
        seen = first <= index
        masks = {
            "classes_in_this_experience": self._present[index],
            "previous_classes": first < index,
            "classes_seen_so_far": seen,
            "future_classes": (first > index) & (first < len(self._present)),
            "new_classes": first == index,
            "recurring_future_classes": seen & (last > index),
        }
        return {name: set(np.flatnonzero(mask).tolist()) for name, mask in masks.items()}


def single_label_streams(
    data: tuple[Any, Any],
    targets: tuple[Any, Any],
    split: Split,
) -> list[LazyStream]:
    """The training and the test stream of a single-label split, over two data sets with these
    labels.

    Raises:
        InputError: targets that are no labels, or a split of other labels.
    """
    labels, n_classes = check_labels(targets[0], "train.targets")
    test_labels, n_test_classes = check_labels(targets[1], "test.targets")
    _same_classes(n_classes, n_test_classes)
    # Equal counts of each class in each task: the split was made from these labels.
    same_size = (split.n_samples, split.n_classes) == (len(labels), n_classes)
    if not same_size or not np.array_equal(
        split.counts, count_classes(labels, split.tasks, n_classes)
    ):
        raise _misfit(split)
    own: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    test_rows = [np.arange(len(test_labels))]
    if isinstance(split, DomainSplit):
        own, test_rows = _by_domain(data[1], split)
    train = [single_label_data(data[0], labels, split, own[0])] * split.n_tasks
    test = [single_label_data(data[1], test_labels, split, own[1])] * len(test_rows)
    present = count_classes(test_labels, test_rows, n_classes) > 0
    marks = _marks(split)
    return [
        LazyStream("train", train, split.tasks, split.visible, marks=marks),
        LazyStream("test", test, test_rows, present, marks=marks),
    ]


def _by_domain(
    test: Any, split: DomainSplit
) -> tuple[tuple[np.ndarray, np.ndarray], list[np.ndarray]]:
    """The domain of each training and of each test image, and the test rows of each domain: in the
    order of tasks, then of domains that have test images alone."""
    found = domains_of("test.domains", test)
    if found is None:
        raise InputError("the test set of a domain-incremental stream needs .domains, too")
    tested = found.astype(str)
    for domain in split.domains:
        if domain not in tested:
            raise InputError(f"domain {domain!r} has training images and no test image: add some")
    trained = np.empty(split.n_samples, dtype=object)
    for domain, rows in zip(split.domains, split.tasks, strict=True):
        trained[rows] = domain
    # No task trains on these: test sets all the same, behind those of the tasks.
    further = sorted(set(tested.tolist()) - set(split.domains))
    rows_of = [np.flatnonzero(tested == domain) for domain in (*split.domains, *further)]
    return (trained, tested), rows_of


def multi_label_streams(
    data: tuple[Any, Any],
    targets: tuple[Any, Any],
    split: MultiLabelSplit,
) -> tuple[MultiLabelSplit, list[LazyStream]]:
    """The multi-label split with its test set, and the training and the test stream, over two data
    sets with these label matrices.

    Raises:
        InputError: targets that are no label matrices, or a split of other labels.
    """
    matrix = check_label_matrix(targets[0], "train.targets")
    test_matrix = check_label_matrix(targets[1], "test.targets")
    _same_classes(matrix.shape[1], test_matrix.shape[1])
    # Equal numbers of labels, and of visible ones of each class in each task: the split was made
    # from this matrix.
    sizes = (split.n_samples, split.n_classes, split.n_labels)
    if sizes != (*matrix.shape, matrix.sum(dtype=np.int64)) or not np.array_equal(
        split.counts, np.where(split.visible, count_positives(matrix, split.tasks), 0)
    ):
        raise _misfit(split)
    tested = split.with_test_labels(test_matrix)
    if split.test_first is None:
        split = tested
    elif split != tested:
        raise InputError("the split does not fit test.targets: it was made with other test_labels")
    train = [multi_label_data(data[0], matrix, mask, split) for mask in split.visible]
    # One test set a task, of the classes seen by then, or a single one.
    if split.boundaries:
        shown = split.seen
        rows = [split.test_indices(task) for task in range(split.n_tasks)]
    else:
        shown = np.ones((1, split.n_classes), dtype=bool)
        rows = [np.flatnonzero(test_matrix.any(axis=1))]
    test = [multi_label_data(data[1], test_matrix, mask, split) for mask in shown]
    marks = _marks(split)
    test_marks = {**marks, "overlapping": split.boundaries}
    return split, [
        LazyStream(
            "train",
            train,
            split.tasks,
            split.visible,
            marks=marks,
            joint_data=lambda visible: multi_label_data(data[0], matrix, visible, split),
        ),
        LazyStream("test", test, rows, shown, marks=test_marks),
    ]


def _marks(split: BaseSplit) -> dict[str, Any]:
    """Marks of the stream on all of its experiences."""
    return {"ordered": split.ordered, "boundaries": split.boundaries, "overlapping": False}


def _misfit(split: BaseSplit) -> InputError:
    return InputError(
        f"the split does not fit train.targets: it was made from other labels ({split!r})"
    )


def _same_classes(train: int, test: int) -> None:
    if train != test:
        raise InputError(
            f"train.targets holds {train} classes and test.targets {test}: they must agree"
        )
