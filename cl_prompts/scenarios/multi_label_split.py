"""The split of a data set whose images have several classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cl_prompts.datasets.classes import check_label_matrix, check_positives, count_positives
from cl_prompts.errors import InputError
from cl_prompts.scenarios.split import BaseSplit, Split, as_tasks, read_only


@dataclass(frozen=True, eq=False)
class MultiLabelTask:
    """One task: which classes are annotated in it, and its images.

    Example:
        >>> split = MultiLabelSplit.of("by hand", labels=[[1, 0], [1, 1]], tasks=[[0], [1]])
        >>> split[1].classes, split[1].train_indices.tolist()
        ((0, 1), [1])

    Attributes:
        classes: label ids that are visible in the task, ascending.
        train_indices: data-set rows in stream order, (n,) int64, read-only.
    """

    classes: tuple[int, ...]
    train_indices: np.ndarray


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MultiLabelSplit(BaseSplit):
    """Which image comes in which task, and which of its labels are visible there.

    Made by ``mlcil_split`` and ``si_blurry_multi_label_split``, or by ``MultiLabelSplit.of`` from
    tasks of one's own. See ``BaseSplit`` for the fields that all splits have. ``split[t]`` is a
    ``MultiLabelTask``.

    In task t the learner sees the labels of the classes that are visible there, ``visible[t]``; any
    other label of the task's images is 0 to it, although the image may well show that class.

    Example:
        >>> split = MultiLabelSplit.of(
        ...     "by hand",
        ...     labels=[[1, 0], [1, 1]],
        ...     tasks=[[0, 1], [1]],
        ...     visible=[[True, False], [False, True]],
        ... )
        >>> split
        <multi-label by hand split: 2 tasks, 2 classes, 2 images, 3 labels>
        >>> [task.classes for task in split], split.counts.tolist()
        ([(0,), (1,)], [[2, 0], [0, 1]])

    Attributes:
        counts: visible positives of each class in each task, (n_tasks, n_classes) int64, read-only.
            A class is visible in a task exactly where its count is not 0.
        n_unlabelled: training images without any label.
        n_labels: all labels of the training set, hidden ones included.
        test_first: per test image the first task after which one of its classes has been visible,
            (n_test,) int64, read-only, -1 for never; None when no test labels were given.
        anchors: the single-label Si-Blurry stream behind a blurry split (see
            ``si_blurry_multi_label_split``); None for others.
    """

    n_unlabelled: int
    n_labels: int
    test_first: np.ndarray | None = None
    anchors: Split | None = None

    def __post_init__(self) -> None:
        """Make the test images' tasks read-only."""
        super().__post_init__()
        if self.test_first is not None:
            object.__setattr__(self, "test_first", read_only(self.test_first))

    @classmethod
    def of(
        cls,
        name: str,
        labels: Any,
        tasks: Iterable[Any],
        *,
        visible: Any = None,
        boundaries: bool = False,
        test_labels: Any = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> MultiLabelSplit:
        """Make a split from the rows of each task and the classes that are annotated there.

        Args:
            labels: 0/1 matrix (n, C) of the training images; every class must be positive in one of
                them.
            visible: which classes are annotated in each task, (n_tasks, C) bool; None for all.
            test_labels: 0/1 matrix (n_test, C) of the test images; without it ``test_indices`` is
                refused.
            name, tasks, boundaries, parameters: see ``BaseSplit``.

        Raises:
            InputError: no such matrix, a class without training images, no task, a row that does
                not exist, ``visible`` of another shape, or test labels of another width.
        """
        matrix = check_label_matrix(labels, "labels")
        check_positives(matrix, "labels")
        rows = as_tasks(tasks, len(matrix))
        counts = count_positives(matrix, rows)
        if visible is not None:
            # A label that is not annotated in a task does not count there.
            counts = np.where(visible, counts, 0)
        split = cls(
            name=name,
            tasks=rows,
            counts=counts,
            n_samples=len(matrix),
            boundaries=boundaries,
            parameters=parameters or {},
            n_unlabelled=int(np.count_nonzero(~matrix.any(axis=1))),
            n_labels=int(matrix.sum(dtype=np.int64)),
        )
        return split if test_labels is None else split.with_test_labels(test_labels)

    def test_indices(self, task: int) -> np.ndarray:
        """Rows of the cumulative test set after a task, ascending int64: images with a class seen
        by then.

        Labels of classes not seen by then (``seen[task]``) count as 0 in it.

        Raises:
            InputError: the split was made without test labels.
        """
        if self.test_first is None:
            raise InputError(
                "this split knows no test set: make it with test_labels=, the 0/1 matrix of the"
                " test images"
            )
        # range()[task] takes -1 for the last task, and refuses one that there is not.
        reached = self.test_first <= range(self.n_tasks)[task]
        return np.flatnonzero((self.test_first >= 0) & reached)

    def with_test_labels(self, test_labels: Any) -> MultiLabelSplit:
        """The same split with a test set, given as its 0/1 matrix (n_test, n_classes); InputError
        where it is none, or of another width."""
        matrix = check_label_matrix(test_labels, "test_labels")
        if matrix.shape[1] != self.n_classes:
            raise InputError(
                f"test_labels has {matrix.shape[1]} columns and labels {self.n_classes}: both"
                " need one per class"
            )
        # Column t: the image has a class that is seen by the end of task t. In floats, since numpy
        # multiplies integers without BLAS.
        reached = matrix.astype(np.float32) @ self.seen.T.astype(np.float32) > 0
        return replace(self, test_first=np.where(reached.any(axis=1), reached.argmax(axis=1), -1))

    def __getitem__(self, task: Any) -> Any:
        """One task, or a tuple of them for a slice."""
        if isinstance(task, slice):
            return tuple(self[i] for i in range(self.n_tasks)[task])
        return MultiLabelTask(tuple(np.flatnonzero(self.counts[task]).tolist()), self.tasks[task])

    @property
    def title(self) -> str:
        """Name, sizes and parameters in one line."""
        return f"multi-label {super().title}"

    def facts(self) -> list[str]:
        """The sizes in words, for the title."""
        *common, _ = super().facts()
        return [*common, f"{self.n_samples} images", f"{self.n_labels} labels"]

    def columns(self) -> dict[str, tuple[Sequence[int], int]]:
        """Images, homes of classes on blurry streams, what is visible, and test images if known."""
        columns: dict[str, tuple[Sequence[int], int]] = {"images": (self.sizes, sum(self.sizes))}
        if self.anchors is not None:
            columns |= self.anchors.home_columns()
        n_visible = self.visible.sum(axis=1).tolist()
        columns["visible classes"] = (n_visible, int(self.seen[-1].sum()))
        columns["visible labels"] = (self.counts.sum(axis=1).tolist(), int(self.counts.sum()))
        if self.test_first is not None:
            tests = [len(self.test_indices(task)) for task in range(self.n_tasks)]
            columns["test images"] = (tests, tests[-1])
        return columns

    def notes(self) -> list[str]:
        """How much really moved, which images come again, what is hidden, and what is in no
        task."""
        times = self.occurrences
        absent = np.count_nonzero(times == 0)
        unlabelled = f"in no task: {absent} images; without any label: {self.n_unlabelled}"
        if self.anchors is None:
            return [f"in several tasks: {np.count_nonzero(times > 1)} images", unlabelled]
        shown = int(self.counts.sum())
        share = 100 * shown / self.n_labels
        visible = f"visible: {shown} of {self.n_labels} labels ({share:.1f} %)"
        return [self.anchors.moved, visible, unlabelled]
