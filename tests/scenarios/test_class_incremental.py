"""Class-incremental splits, multi-label and single-label: the protocol's invariants, notation, and
what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.scenarios import class_incremental_split, disjoint_split, mlcil_split
from tests.scenarios.labels import matrices


@st.composite
def mlcil_cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    matrix = draw(matrices())
    n_classes = matrix.shape[1]
    base = draw(st.integers(0, n_classes))
    rest = n_classes - base
    increment = draw(st.sampled_from([k for k in range(1, n_classes + 1) if rest % k == 0]))
    order = draw(st.one_of(st.none(), st.permutations(range(n_classes)), st.integers(0, 99)))
    row = st.lists(st.booleans(), min_size=n_classes, max_size=n_classes)
    test = np.array(draw(st.lists(row, min_size=1, max_size=15)))
    return matrix, test, {"protocol": f"B{base}-C{increment}", "class_order": order}


@given(mlcil_cases())
@settings(max_examples=60)
def test_invariants(case: tuple[np.ndarray, np.ndarray, dict[str, Any]]) -> None:
    matrix, test, parameters = case
    split = mlcil_split(matrix, **parameters)
    n_classes = matrix.shape[1]
    # Classes are divided among the tasks, in the sizes asked for.
    assert split.visible.sum(axis=0).tolist() == [1] * n_classes
    base, increment = map(int, parameters["protocol"][1:].split("-C"))
    sizes = [base or increment] + [increment] * (len(split) - 1)
    assert split.visible.sum(axis=1).tolist() == sizes
    # An image is in exactly the tasks of its labels; images without any are in none.
    for row, labels in enumerate(matrix):
        tasks = [t for t, rows in enumerate(split) if row in rows]
        assert tasks == np.flatnonzero(split.visible @ labels).tolist()
    # Masked targets of all tasks together are the full targets.
    shown = np.zeros_like(matrix)
    for t, rows in enumerate(split):
        masked = matrix * split.visible[t]
        assert split.counts[t].tolist() == masked[rows].sum(axis=0).tolist()
        assert np.array_equal(np.unique(rows), rows)
        shown[rows] += masked[rows]
    assert np.array_equal(shown, matrix)
    assert split.sizes == [len(rows) for rows in split.tasks]
    # The test set grows, holds only images with a seen label, and in the end every labelled one.
    before: set[int] = set()
    for t in range(len(split)):
        rows = split.test_indices(test, t)
        assert before <= set(rows.tolist())
        assert rows.tolist() == np.flatnonzero(test[:, split.seen[t]].any(axis=1)).tolist()
        before = set(rows.tolist())
    assert before == set(np.flatnonzero(test.any(axis=1)).tolist())


def test_a_worked_example() -> None:
    labels = [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 1]]
    test = [[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    split = mlcil_split(labels, protocol="b2-c1", class_order=[3, 1, 0, 2])
    assert split.parameters == {"base": 2, "increment": 1}
    assert (split.boundaries, split.ordered, split.anchors) == (True, False, None)
    assert [np.flatnonzero(own).tolist() for own in split.visible] == [[1, 3], [0], [2]]
    assert [rows.tolist() for rows in split] == [[0, 3, 4], [0, 4], [1, 4]]
    assert [split.test_indices(test, t).tolist() for t in range(3)] == [[0, 2, 3]] * 3
    assert mlcil_split(labels, protocol="B1-C1").test_indices(test, 1).tolist() == [2]
    assert split.title == (
        "multi-label class-incremental split: 3 tasks, 4 classes, 5 samples, base=2, increment=1"
    )


@pytest.mark.parametrize("order", [None, 3, "shuffled", [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6]])
def test_class_incremental(order: Any) -> None:
    labels = np.random.default_rng(0).permutation(np.arange(240) % 12)
    split = class_incremental_split(labels, n_tasks=4, class_order=order, seed=3)
    assert len(split) == 4
    assert split.boundaries
    assert not split.ordered
    assert not disjoint_split(labels, n_tasks=4).boundaries
    if order is None:
        assert split.disjoint_classes == ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
    if order == "shuffled":
        assert split == class_incremental_split(labels, n_tasks=4, class_order=3, seed=3)
    if isinstance(order, list):
        assert split.disjoint_classes == ((5, 4, 3), (2, 1, 0), (11, 10, 9), (8, 7, 6))
    assert sorted(c for classes in split.disjoint_classes for c in classes) == list(range(12))
    for rows, classes in zip(split, split.disjoint_classes, strict=True):
        assert rows.tolist() == np.flatnonzero(np.isin(labels, classes)).tolist()
    assert split.sizes == [60] * 4
    assert np.array_equal(split.visible, split.counts > 0)
    assert repr(split) == "<class-incremental split: 4 tasks, 12 classes, 240 samples>"
