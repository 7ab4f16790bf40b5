"""Data sets that follow one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cl_prompts.datasets.dataset import DataSet, ImageSet
from cl_prompts.datasets.joined import joined
from cl_prompts.datasets.registry import load_dataset
from cl_prompts.errors import InputError
from tests.experiments.own_photos import photos


def tensors(value: float, labels: list[int]) -> ImageSet:
    return ImageSet(torch.full((len(labels), 3, 8, 8), float(value)), np.array(labels), None)


def two() -> tuple[DataSet, DataSet]:
    first = DataSet("a", tensors(0, [0, 1, 1]), tensors(0.1, [0, 1]), ("cat", "dog"))
    later = DataSet("b", tensors(1, [1, 0]), tensors(0.9, [0, 1]), ("dog", "emu"))
    return first, later


def test_classes_are_known_by_name() -> None:
    both = joined(*two())
    assert both.classes == ("cat", "dog", "emu")
    assert both.new_classes == ("emu",)
    assert both.columns == (1, 2)
    assert both.train.targets.tolist() == [0, 1, 1, 2, 1]
    assert both.test.targets.tolist() == [0, 1, 1, 2]
    values = [(float(image.mean()), label) for image, label in both.train]
    assert values == [(0, 0), (0, 1), (0, 1), (1, 2), (1, 1)]


def test_several_labels_get_columns_for_all_classes() -> None:
    def scenes(rows: list[list[int]]) -> ImageSet:
        return ImageSet(torch.zeros(len(rows), 3, 8, 8), np.array(rows, dtype=np.uint8), None)

    ignored = scenes([[1, 0]])
    ignored.ignored = np.array([[False, True]])
    both = joined(
        DataSet("a", scenes([[1, 1]]), scenes([[0, 1]]), ("cat", "dog")),
        DataSet("b", scenes([[1, 0]]), ignored, ("emu", "cat")),
    )
    assert both.train.targets.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert both.test.ignored is not None
    assert both.test.ignored.tolist() == [[False] * 3, [True, False, False]]
    assert both.train[1][1].tolist() == [0, 0, 1]  # type: ignore[union-attr]


def test_the_fingerprint_is_of_both_parts() -> None:
    first, later = two()
    known = joined(first, later).fingerprint()
    assert joined(first, later).fingerprint() == known
    other = DataSet("b", tensors(0.5, [1, 0]), later.test, later.classes)
    assert joined(first, other).fingerprint()["training"] != known["training"]
    assert joined(first, other).fingerprint()["test"] == known["test"]


def test_the_state_of_one_part_is_that_of_the_first(tmp_path: Path) -> None:
    for part in ("train", "test"):
        photos(tmp_path / part, {"a": 3, "b": 3}, first=len(part))
    loaded = [load_dataset("folder", root=tmp_path, image_size=8, seed=s) for s in (1, 2)]
    both = joined(loaded[0], DataSet("b", loaded[1].train, two()[1].test, ("a", "b"))).train
    state = both.state_dict()
    both.load_state_dict(state["parts"][0])
    assert both.state_dict() == state
    assert not both.is_plain
    assert both.plain().is_plain
    assert len(both.files) == 12
    assert len(both.without([both.files[0]])) == 10  # both parts hold it


def test_kinds_that_differ_and_files_on_both_sides_are_refused(tmp_path: Path) -> None:
    first, _ = two()
    scenes = ImageSet(torch.zeros(1, 3, 8, 8), np.ones((1, 2), dtype=np.uint8), None)
    with pytest.raises(InputError, match="cannot follow one another"):
        joined(first, DataSet("b", scenes, scenes, ("cat", "dog")))
    for part in ("train", "test"):
        photos(tmp_path / part, {"a": 3, "b": 3}, first=len(part))
    data = load_dataset("folder", root=tmp_path, image_size=8)
    swapped = DataSet("b", data.test, data.train, data.classes)
    with pytest.raises(InputError, match="test images of data sets 'folder' and 'b' are training"):
        joined(data, swapped)
