"""Images divided by a seeded share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cl_prompts.datasets.shares import split_rows
from cl_prompts.errors import InputError

LABELS = np.repeat(np.arange(3), [10, 50, 2])
NAMES = ("cat", "dog", "owl")


def test_the_share_is_taken_of_each_class() -> None:
    train, test = split_rows(LABELS, 20, 0, NAMES)
    assert np.bincount(LABELS[test]).tolist() == [2, 10, 1]
    assert sorted([*train, *test]) == list(range(62))
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(test) > 0)


def test_the_seed_chooses() -> None:
    first, again, other = (split_rows(LABELS, 20, seed, NAMES)[1] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("percent", [1, 99])
def test_each_class_stays_on_both_sides(percent: float) -> None:
    for side in split_rows(LABELS, percent, 0, NAMES):
        assert set(LABELS[side]) == {0, 1, 2}


def test_with_several_labels_rare_classes_are_moved_to_both_sides() -> None:
    matrix = np.zeros((100, 3), dtype=np.uint8)
    matrix[:, 0] = 1
    matrix[40:50, 1] = 1
    matrix[:2, 2] = 1
    for seed in range(20):
        train, test = split_rows(matrix, 20, seed, NAMES)
        assert matrix[train].any(axis=0).all()
        assert matrix[test].any(axis=0).all()
        assert 20 <= len(test) + 2 <= 24


@pytest.mark.parametrize(
    ("targets", "arguments", "says"),
    [
        (np.array([0, 0, 1]), (20, 0, ("cat", "dog")), "class 'dog' has 1 image: two are needed"),
        (LABELS, (0, 0, NAMES), "test_percent is 0: it must lie between 0 and 100"),
        (LABELS, (float("nan"), 0, NAMES), "test_percent is nan"),
        (LABELS, (20, -1, NAMES), "split_seed must be a whole number"),
    ],
)
def test_refusals(targets: np.ndarray, arguments: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        split_rows(targets, *arguments)
