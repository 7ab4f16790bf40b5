"""Checks and counts of labels."""

from __future__ import annotations

import numpy as np
import pytest

from cl_prompts.datasets.labels import (
    check_label_matrix,
    check_labels,
    count_classes,
    count_positives,
)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint64"])
def test_labels_of_any_integer_type(kind: str) -> None:
    labels, n_classes = check_labels(np.array([0, 2, 1, 1], dtype=kind), "targets")
    assert labels.dtype == np.int64
    assert (labels.tolist(), n_classes) == ([0, 2, 1, 1], 3)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int64", "float32"])
def test_label_matrices_of_any_numeric_type(kind: str) -> None:
    matrix = check_label_matrix(np.array([[1, 0], [0, 1]], dtype=kind), "targets")
    assert matrix.dtype == np.uint8
    assert matrix.tolist() == [[1, 0], [0, 1]]


def test_counts_per_task() -> None:
    tasks = [np.array([0, 1]), np.array([2, 3])]
    assert count_classes(np.array([0, 0, 2, 1]), tasks, 3).tolist() == [[2, 0, 0], [0, 1, 1]]
    matrix = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=np.uint8)
    assert count_positives(matrix, tasks).tolist() == [[2, 1], [0, 1]]
