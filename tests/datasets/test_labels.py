"""Checks and counts of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cl_prompts.datasets.labels import (
    check_label_matrix,
    check_labels,
    check_positives,
    count_classes,
    count_positives,
)
from cl_prompts.errors import InputError


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint64"])
def test_labels_of_any_integer_type(kind: str) -> None:
    labels, n_classes = check_labels(np.array([0, 2, 1, 1], dtype=kind), "targets")
    assert labels.dtype == np.int64
    assert (labels.tolist(), n_classes) == ([0, 2, 1, 1], 3)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([], "targets is empty: there must be one label per sample"),
        (["cat", "dog"], "targets must be a 1-D sequence of integer labels, not 1-D of type <U3"),
        ([0.0, 1.0], "targets must be a 1-D sequence of integer labels, not 1-D of type float64"),
        ([[0, 1]], "targets must be a 1-D sequence of integer labels, not 2-D of type int64"),
        ([[0], [0, 1]], "targets must be a 1-D sequence of integer labels: "),
        ([0, -3], "label -3 in targets is out of range: labels must be 0 to C-1 for C classes"),
        ([0, 2], "label 1 is missing in targets, which goes up to 2: all labels from 0 to C-1"),
        ([0, 10**12], "label 1 is missing in targets, which goes up to 1000000000000"),
    ],
)
def test_unusable_labels_are_refused(labels: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        check_labels(labels, "targets")
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int64", "float32"])
def test_label_matrices_of_any_numeric_type(kind: str) -> None:
    matrix = check_label_matrix(np.array([[1, 0], [0, 1]], dtype=kind), "targets")
    assert matrix.dtype == np.uint8
    assert matrix.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("matrix", "fault"),
    [
        ([0, 1], ", not 1-D of type int64"),
        ([["0", "1"]], ", not 2-D of type <U1"),
        (np.zeros((0, 3)), " of at least one image and one class, not of shape (0, 3)"),
        ([[0, 1], [0, 2]], ", but row 1 holds 2 in column 1"),
        ([[0, -1]], ", but row 0 holds -1 in column 1"),
        ([[0.5, 1]], ", but row 0 holds 0.5 in column 0"),
        ([[np.nan, 1]], ", but row 0 holds nan in column 0"),
        ([[256, 1]], ", but row 0 holds 256 in column 0"),
    ],
)
def test_other_matrices_are_refused(matrix: Any, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        check_label_matrix(matrix, "targets")
    assert str(caught.value) == f"targets must be a 0/1 matrix (images, classes){fault}"


def test_a_class_without_positives_is_named() -> None:
    check_positives(np.eye(3, dtype=np.uint8), "targets")
    with pytest.raises(InputError, match="targets holds no label at all"):
        check_positives(np.zeros((2, 3), dtype=np.uint8), "targets")
    with pytest.raises(InputError, match="class 1 is never positive in targets"):
        check_positives(np.array([[1, 0, 1]]), "targets")
    with pytest.raises(InputError, match=r"2 classes \(first: 0\) are never positive in targets"):
        check_positives(np.array([[0, 0, 1]]), "targets")


def test_counts_per_task() -> None:
    tasks = [np.array([0, 1]), np.array([2, 3])]
    assert count_classes(np.array([0, 0, 2, 1]), tasks, 3).tolist() == [[2, 0, 0], [0, 1, 1]]
    matrix = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=np.uint8)
    assert count_positives(matrix, tasks).tolist() == [[2, 1], [0, 1]]
