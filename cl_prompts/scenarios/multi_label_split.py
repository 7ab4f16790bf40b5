"""Splits of multi-label data sets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cl_prompts.datasets.classes import positive_matrix
from cl_prompts.scenarios.split import BaseSplit, Split


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MultiLabelSplit(BaseSplit):
    """A split of multi-label images, and the labels visible in each task.

    Made by ``mlcil_split`` and ``si_blurry_multi_label_split``, or from your own tasks by
    ``MultiLabelSplit.of``. See ``BaseSplit`` for the fields of all splits.

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
        >>> split[0].tolist(), split.counts.tolist()
        ([0, 1], [[2, 0], [0, 1]])

    Attributes:
        counts: visible positives of each class in each task, (n_tasks, n_classes) int64, read-only.
            A class is visible in a task exactly where its count is not 0.
        anchors: single-label Si-Blurry stream of a blurry split (see
            ``si_blurry_multi_label_split``); None for others.
    """

    anchors: Split | None = None
    _checked = staticmethod(positive_matrix)

    def test_indices(self, test_labels: ArrayLike, task: int) -> np.ndarray:
        """Return the test images with a class seen by the end of a task, ascending int64.

        In this cumulative test set, labels of unseen classes (``seen[task]``) count as 0.

        Args:
            test_labels: 0/1 matrix (n_test, n_classes).
            task: index of the task.
        """
        return np.flatnonzero(np.asarray(test_labels)[:, self.seen[task]].any(axis=1))

    @property
    def title(self) -> str:
        """Name, sizes and parameters in one line."""
        return f"multi-label {super().title}"
