"""Choice and order of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.datasets.classes import relabel
from tests.datasets.toys import grey, load, write_folder


def test_a_number_keeps_the_first_classes_of_the_order() -> None:
    whole, data = (
        load("digits"),
        load("digits", classes=3, class_order=[4, 2, 9, 0, 1, 3, 5, 6, 7, 8]),
    )
    assert data.classes == ("4", "2", "9")
    kept = np.isin(whole.train.targets, [4, 2, 9])
    assert np.array_equal(np.array([4, 2, 9])[data.train.targets], whole.train.targets[kept])
    assert torch.equal(data.train[3][0], whole.train[int(np.flatnonzero(kept)[3])][0])


def test_a_list_picks_by_label_and_name(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    data = load("folder", root, classes=["cat", 0])
    assert data.classes == ("cat", "ant")
    assert data.train.targets.tolist() == [1, 1, 1, 0, 0, 0]
    assert grey(data.train) == [0, 1, 2, 20, 21, 22]
    assert grey(data.test) == [100, 102]
    assert load("folder", root, classes=["cat", 0], class_order=[1, 0]).classes == ("ant", "cat")


def test_a_seed_gives_one_class_order() -> None:
    expected = torch.randperm(10, generator=torch.Generator().manual_seed(3)).tolist()
    assert load("digits", class_order=3).classes == tuple(map(str, expected))


@settings(max_examples=15)
@given(order=st.permutations(range(10)), count=st.integers(1, 10))
def test_relabelling_keeps_each_class_together(order: list[int], count: int) -> None:
    whole, data = load("digits"), load("digits", classes=count, class_order=order)
    assert data.classes == tuple(str(label) for label in order[:count])
    for part, all_of_it in ((data.train, whole.train), (data.test, whole.test)):
        kept = np.isin(all_of_it.targets, order[:count])
        assert np.array_equal(np.array(order)[part.targets], all_of_it.targets[kept])


@settings(max_examples=10)
@given(order=st.permutations(range(10)), count=st.integers(1, 10))
def test_columns_follow_the_choice_of_classes(order: list[int], count: int) -> None:
    whole = np.arange(50).reshape(5, 10) % 3 % 2
    rows, targets = relabel(whole, np.array(order[:count]), 10)
    assert rows is None
    for new, old in enumerate(order[:count]):
        assert np.array_equal(targets[:, new], whole[:, old])


def test_choosing_classes_keeps_every_image() -> None:
    whole, data = load("digit_scenes"), load("digit_scenes", classes=["7", 1])
    assert data.classes == ("7", "1")
    assert np.array_equal(data.train.targets, whole.train.targets[:, [7, 1]])
    assert (data.train.targets.sum(axis=1) == 0).any()
    assert torch.equal(data.train[5][0], whole.train[5][0])
