"""Splits of multi-label data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cl_prompts.datasets.classes import check_label_matrix, count_labels, positive_matrix
from cl_prompts.errors import InputError
from cl_prompts.scenarios.split import BaseSplit, Split, as_tasks


@dataclass(frozen=True, eq=False)
class MultiLabelTask:
    """The annotated classes and the images of one task.

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
    """A split of multi-label images, and the labels visible in each task.

    Made by ``mlcil_split`` and ``si_blurry_multi_label_split``, or from your own tasks by
    ``MultiLabelSplit.of``. See ``BaseSplit`` for the fields of all splits. ``split[t]`` is a
    ``MultiLabelTask``.

    In task t the learner sees the labels of the classes ``visible[t]``. All other labels of the
    task's images are 0 to the learner, even if the image shows the class.

    Example:
        >>> split = MultiLabelSplit.of(
        ...     "by hand",
        ...     labels=[[1, 0], [1, 1]],
        ...     tasks=[[0, 1], [1]],
        ...     visible=[[True, False], [False, True]],
        ... )
        >>> split
        <multi-label by hand split: 2 tasks, 2 classes, 2 samples>
        >>> [task.classes for task in split], split.counts.tolist()
        ([(0,), (1,)], [[2, 0], [0, 1]])

    Attributes:
        counts: visible positives of each class in each task, (n_tasks, n_classes) int64, read-only.
            A class is visible in a task exactly where its count is not 0.
        n_unlabelled: training images without any label.
        n_labels: labels of the training set, including hidden ones.
        test_first: first task with a visible class of each test image, (n_test,) int64,
            -1 for never; None without test labels.
        anchors: single-label Si-Blurry stream of a blurry split (see
            ``si_blurry_multi_label_split``); None for others.
    """

    n_unlabelled: int
    n_labels: int
    test_first: np.ndarray | None = None
    anchors: Split | None = None

    @classmethod
    def of(
        cls,
        name: str,
        labels: ArrayLike,
        tasks: Iterable[ArrayLike],
        *,
        visible: ArrayLike | None = None,
        boundaries: bool = False,
        test_labels: ArrayLike | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> MultiLabelSplit:
        """Make a split from the rows and the annotated classes of each task.

        Args:
            labels: 0/1 matrix (n, C) of the training images; each class must be positive in at
                least one.
            visible: annotated classes of each task, (n_tasks, C) bool; None for all.
            test_labels: 0/1 matrix (n_test, C) of the test images; ``test_indices`` needs it.
            name, tasks, boundaries, parameters: see ``BaseSplit``.

        Raises:
            InputError: not a 0/1 matrix, a class without training images, no task, a row that does
                not exist, or test labels of another width.
        """
        matrix = positive_matrix(labels, "labels")
        rows = as_tasks(tasks, len(matrix))
        counts = count_labels(matrix, rows, matrix.shape[1])
        if visible is not None:
            # Hidden labels do not count.
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
        """Return the test images with a class seen by the end of a task, ascending int64.

        In this cumulative test set, labels of unseen classes (``seen[task]``) count as 0.

        Raises:
            InputError: a split without test labels.
        """
        if self.test_first is None:
            raise InputError(
                "this split has no test set: make it with test_labels=, the 0/1 matrix of the test"
                " images"
            )
        # range()[task] supports negative indices and checks the range.
        reached = self.test_first <= range(self.n_tasks)[task]
        return np.flatnonzero((self.test_first >= 0) & reached)

    def with_test_labels(self, test_labels: ArrayLike) -> MultiLabelSplit:
        """Return the split with a test set.

        Args:
            test_labels: 0/1 matrix (n_test, n_classes).

        Raises:
            InputError: not a 0/1 matrix, or another width.
        """
        matrix = check_label_matrix(test_labels, "test_labels")
        if matrix.shape[1] != self.n_classes:
            raise InputError(
                f"test_labels has {matrix.shape[1]} columns and labels {self.n_classes}: both"
                " need one per class"
            )
        # Column t: the image has a class seen by the end of task t. Floats, since BLAS has no
        # integers.
        reached = matrix.astype(np.float32) @ self.seen.T.astype(np.float32) > 0
        return replace(self, test_first=np.where(reached.any(axis=1), reached.argmax(axis=1), -1))

    def __getitem__(self, task: Any) -> Any:
        """Return one task, or a tuple of tasks for a slice."""
        if isinstance(task, slice):
            return tuple(self[i] for i in range(self.n_tasks)[task])
        return MultiLabelTask(tuple(np.flatnonzero(self.counts[task]).tolist()), self.tasks[task])

    @property
    def title(self) -> str:
        """Name, sizes and parameters in one line."""
        return f"multi-label {super().title}"
