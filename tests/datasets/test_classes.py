"""Labels and classes: checks, counts, choice and order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.datasets.classes import check_label_matrix, check_labels, count_labels, relabel
from tests.datasets.toys import grey, load, write_folder


def test_a_number_keeps_the_first_classes() -> None:
    whole = load("digits")
    data = load("digits", classes=3)
    assert data.classes == ("0", "1", "2")
    kept = np.flatnonzero(whole.train.targets < 3)
    assert np.array_equal(data.train.targets, whole.train.targets[kept])
    assert torch.equal(data.train[3][0], whole.train[int(kept[3])][0])


def test_a_list_picks_by_label_and_name(tmp_path: Path) -> None:
    data = load("folder", write_folder(tmp_path), classes=["cat", 0])
    assert data.classes == ("cat", "ant")
    assert data.train.targets.tolist() == [1, 1, 1, 0, 0, 0]
    assert grey(data.train) == [0, 1, 2, 20, 21, 22]
    assert grey(data.test) == [100, 102]


@given(order=st.permutations(range(10)), count=st.integers(1, 10))
def test_relabelling_follows_the_choice_of_classes(order: list[int], count: int) -> None:
    chosen = np.array(order[:count])
    labels = np.arange(50) * 7 % 10
    rows, targets = relabel(labels, chosen, 10)
    assert rows.tolist() == np.flatnonzero(np.isin(labels, chosen)).tolist()
    assert np.array_equal(chosen[targets], labels[rows])
    matrix = np.arange(50).reshape(5, 10) % 3 % 2
    rows, targets = relabel(matrix, chosen, 10)
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(targets, matrix[:, chosen])


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint64"])
def test_labels_of_any_integer_type(kind: str) -> None:
    labels, n_classes = check_labels(np.array([0, 2, 1, 1], dtype=kind), "targets")
    assert labels.dtype == np.int64
    assert (labels.tolist(), n_classes) == ([0, 2, 1, 1], 3)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int64", "float32"])
def test_label_matrices_of_any_numeric_type(kind: str) -> None:
    matrix, _ = check_label_matrix(np.array([[1, 0], [0, 1]], dtype=kind), "targets")
    assert matrix.dtype == np.uint8
    assert matrix.tolist() == [[1, 0], [0, 1]]


def test_counts_per_task() -> None:
    tasks = [np.array([0, 1]), np.array([2, 3])]
    assert count_labels(np.array([0, 0, 2, 1]), tasks, 3).tolist() == [[2, 0, 0], [0, 1, 1]]
    matrix = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=np.uint8)
    assert count_labels(matrix, tasks, 2).tolist() == [[2, 1], [0, 1]]
