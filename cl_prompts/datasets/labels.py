"""Checking and counting labels: one integer per sample, or one row of zeros and ones per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cl_prompts.errors import InputError


def check_labels(targets: Any, name: str) -> tuple[np.ndarray, int]:
    """Labels as an int64 array (n,), and the number of classes C.

    >>> check_labels([0, 2, 1], "targets")
    (array([0, 2, 1]), 3)

    Raises:
        InputError: not a 1-D sequence of integers, empty, or not exactly the labels 0..C-1.
    """
    labels = np.asarray(targets)
    if labels.size == 0:
        raise InputError(f"{name} is empty: there must be one label per sample")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(
            f"{name} must be a 1-D sequence of integer labels, not {labels.ndim}-D of type"
            f" {labels.dtype}"
        )
    labels = labels.astype(np.int64, copy=False)
    lowest = int(labels.min())
    highest = int(labels.max())
    if lowest < 0:
        raise InputError(
            f"label {lowest} in {name} is out of range: labels must be 0 to C-1 for C classes"
        )
    # Labels beyond the number of samples certainly leave gaps, and may be too large to count.
    if highest >= len(labels) or not np.bincount(labels).all():
        present = np.unique(labels)
        missing = int(np.flatnonzero(present != np.arange(len(present)))[0])
        raise InputError(
            f"label {missing} is missing in {name}, which goes up to {highest}: all labels from 0"
            " to C-1 must occur"
        )
    return labels, highest + 1


def check_label_matrix(labels: Any, name: str) -> np.ndarray:
    """A label matrix of any numeric type or bool as uint8 zeros and ones (n, C).

    Raises:
        InputError: not 2-D, empty, or an entry other than 0 and 1.
    """
    rule = f"{name} must be a 0/1 matrix (images, classes)"
    matrix = np.asarray(labels)
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf" or not matrix.size:
        raise InputError(f"{rule}, not {matrix.dtype} of shape {matrix.shape}")
    wrong = (matrix != 0) & (matrix != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise InputError(f"{rule}, but row {row} holds {matrix[row, column]} in column {column}")
    return matrix.astype(np.uint8, copy=False)


def check_positives(matrix: np.ndarray, name: str) -> None:
    """Refuse a label matrix (n, C) with a class that is positive nowhere.

    Raises:
        InputError: a matrix without any label, or with a class that no image has.
    """
    never = np.flatnonzero(~matrix.any(axis=0))
    if len(never):
        raise InputError(
            f"class {never[0]} is never positive in {name} ({len(never)} such classes): every"
            " column needs at least one training image"
        )


def count_classes(labels: np.ndarray, tasks: Sequence[np.ndarray], n_classes: int) -> np.ndarray:
    """Samples of each class in each task, (n_tasks, n_classes) int64, of labels (n,)."""
    small = labels.astype(np.min_scalar_type(n_classes))  # fits the cache, in which it is looked up
    return np.stack([np.bincount(small[rows], minlength=n_classes) for rows in tasks])


def count_positives(matrix: np.ndarray, tasks: Sequence[np.ndarray]) -> np.ndarray:
    """Images that show each class in each task, (n_tasks, C) int64, of a 0/1 matrix (n, C)."""
    return np.stack([matrix[rows].sum(axis=0, dtype=np.int64) for rows in tasks])
