"""Two data sets in sequence."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cl_prompts.datasets.combined import joined
from cl_prompts.datasets.dataset import DataSet, ImageSet
from cl_prompts.datasets.registry import load_dataset
from cl_prompts.errors import InputError
from tests.datasets.toys import refusal
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


@pytest.mark.parametrize(
    ("known", "new"), [("dog", "Dog"), ("dog", "dog "), ("caf\u00e9", "cafe\u0301")]
)
def test_a_new_class_called_nearly_as_a_known_one_is_refused(known: str, new: str) -> None:
    first = DataSet("a", tensors(0, [0, 1]), tensors(0.1, [0, 1]), ("cat", known))
    later = DataSet("b", tensors(1, [1, 0]), tensors(0.9, [0, 1]), (new, "emu"))
    said = refusal(lambda: joined(first, later))
    assert said.startswith(f"names {known!r} and {new!r} of data sets 'a' and 'b' differ only in")


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
    assert both.test.ignored.tolist() == [[False] * 3, [True, False, False]]
    assert both.train[1][1].tolist() == [0, 0, 1]


def test_the_fingerprint_is_of_both_parts() -> None:
    first, later = two()
    known = joined(first, later).fingerprint()
    assert joined(first, later).fingerprint() == known
    other = DataSet("b", tensors(0.5, [1, 0]), later.test, later.classes)
    assert joined(first, other).fingerprint()["training"] != known["training"]
    assert joined(first, other).fingerprint()["test"] == known["test"]


def folder(root: Path, first: int) -> DataSet:
    for number, part in enumerate(("train", "test")):
        photos(root / part, {"a": 3, "b": 3}, first=first + 100 * number)
    return load_dataset("folder", root=root, image_size=8)


def test_a_set_is_plain_if_its_parts_are(tmp_path: Path) -> None:
    both = joined(folder(tmp_path / "a", 0), folder(tmp_path / "b", 7000)).train
    assert not both.is_plain
    assert both.plain().is_plain
    assert len(both.files) == 12


def test_kinds_that_differ_and_files_that_come_twice_are_refused(tmp_path: Path) -> None:
    first, _ = two()
    scenes = ImageSet(torch.zeros(1, 3, 8, 8), np.ones((1, 2), dtype=np.uint8), None)
    with pytest.raises(InputError, match="use the same kind"):
        joined(first, DataSet("b", scenes, scenes, ("cat", "dog")))
    data = folder(tmp_path, 0)
    again = load_dataset("folder", root=tmp_path, image_size=8)
    with pytest.raises(InputError, match="training images of data sets 'folder' and 'folder' have"):
        joined(data, again)
    tests = DataSet("b", folder(tmp_path / "b", 7000).train, again.train, data.classes)
    with pytest.raises(InputError, match="are also training images"):
        joined(data, tests)


def test_copies_of_test_images_among_later_training_images_are_refused(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", 0)
    assert joined(first, folder(tmp_path / "b", 7000)).fingerprint()
    later = folder(tmp_path / "c", 100)  # its training images are the test images of the first
    with pytest.raises(InputError, match="6 test images of data set 'folder' are also training"):
        joined(first, later).fingerprint()
