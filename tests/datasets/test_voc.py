"""PASCAL VOC 2007 in miniature: label rules, splits, and what each refusal says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_prompts.datasets import voc
from tests.datasets.toys import grey, load, refusal, shown, write_image

VOC = {  # split -> one row of values per image; image k of the whole set is k grey
    "train": [[1] * 20, [1, 0] + [-1] * 18, [0] * 20],
    "val": [[1] * 20, [-1, 0] + [1] * 18],
}


def write_voc(root: Path, splits: dict[str, list[list[int]]] = VOC) -> Path:
    folder = root / "VOCdevkit" / "VOC2007"
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    first = 0
    for split, rows in splits.items():
        ids = [f"{10 * (first + k):06d}" for k in range(len(rows))]
        first += len(rows)
        for image in ids:
            write_image(folder / "JPEGImages" / f"{image}.jpg", int(image), size=(24, 16))
        for column, name in enumerate(voc.CLASSES):
            lines = [
                f"{image} {values[column]:2d}\n" for image, values in zip(ids, rows, strict=True)
            ]
            (lists / f"{name}_{split}.txt").write_text("".join(lines))
    return folder


def test_voc_counts_ones_only(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    (tmp_path / "VOC2007").mkdir()  # the usual place comes first
    for root in (tmp_path, tmp_path / "VOCdevkit", folder):
        data = load("voc2007", root, splits="train/val")
        assert data.classes == voc.CLASSES == tuple(sorted(voc.CLASSES))
        # An image without a label stays.
        assert data.train.targets.sum(axis=1).tolist() == [20, 1, 0]
        assert data.test.targets.sum(axis=1).tolist() == [20, 18]
        assert shown(data, 1) == {"aeroplane"}
        assert grey(data.train) == pytest.approx([0, 10, 20], abs=1)
        assert grey(data.test) == pytest.approx([30, 40], abs=1)
        assert data.train.ignored is None


def test_difficult_objects_may_be_ignored_and_absent_ones_are_not(tmp_path: Path) -> None:
    write_voc(tmp_path)
    chosen = ["bicycle", "aeroplane"]
    data = load("voc2007", tmp_path, splits="train/val", difficult="ignore", classes=chosen)
    assert data.train.targets.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert data.train.ignored is not None
    assert data.train.ignored.tolist() == [[False, False], [True, False], [True, True]]
    assert data.test.ignored is not None
    assert data.test.ignored.tolist() == [[False, False], [True, False]]


def test_voc_takes_any_pair_of_its_splits(tmp_path: Path) -> None:
    write_voc(tmp_path, {"trainval": VOC["train"], "test": VOC["val"], "val": VOC["val"]})
    assert grey(load("voc2007", tmp_path).test) == pytest.approx([30, 40], abs=1)
    for splits, levels in (("val/test", [50, 60]), ("test/trainval", [30, 40])):
        train = load("voc2007", tmp_path, splits=splits).train
        assert grey(train) == pytest.approx(levels, abs=1)


def test_voc_says_which_splits_work(tmp_path: Path) -> None:
    lists = write_voc(tmp_path) / "ImageSets" / "Main"
    sentence = refusal(lambda: load("voc2007", tmp_path))
    assert (
        f"(split trainval has no {lists}/aeroplane_trainval.txt and 19 more lists; with what is"
        " there, splits=train/val works): looked in" in sentence
    )
    assert sentence.endswith(f"tar -xf {tmp_path}/$f -C {tmp_path}; done")
    (lists / "dog_val.txt").unlink()
    sentence = refusal(lambda: load("voc2007", tmp_path, splits="train/val"))
    assert f"(split val has no {lists}/dog_val.txt): looked in" in sentence


@pytest.mark.parametrize("splits", ["train", "train/tset", "train/val/test", "train,val", ""])
def test_voc_refuses_unknown_splits(tmp_path: Path, splits: str) -> None:
    write_voc(tmp_path)
    said = refusal(lambda: load("voc2007", tmp_path, splits=splits))
    assert said.startswith("splits of VOC 2007 must be two of train, val, trainval, test")
    assert said.endswith(f"not {splits!r}")


def test_voc_refuses_splits_that_overlap(tmp_path: Path) -> None:
    lists = write_voc(tmp_path) / "ImageSets" / "Main"
    for name in voc.CLASSES:
        both = (lists / f"{name}_train.txt").read_text() + (lists / f"{name}_val.txt").read_text()
        (lists / f"{name}_trainval.txt").write_text(both)
    said = refusal(lambda: load("voc2007", tmp_path, splits="trainval/val"))
    assert said.startswith("2 test images of data set 'voc2007' are training images too")
    assert "000030.jpg" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("000000  1\n000010  2\n000020 -1\n", "{file} holds '2' where -1, 0 or 1 should be"),
        ("000000  1\n000010\n000020 -1\n", "row 2 of {file} is not as it should be: '000010'"),
        ("000000  1\n000020 -1\n000010  1\n", "{file} lists other images than aeroplane_train"),
        ("", "{file} is empty"),
    ],
)
def test_voc_refuses_damaged_lists(tmp_path: Path, text: str, sentence: str) -> None:
    file = write_voc(tmp_path) / "ImageSets" / "Main" / "cat_train.txt"
    file.write_text(text)
    said = refusal(lambda: load("voc2007", tmp_path, splits="train/val"))
    assert f"({sentence.format(file=file)}" in said


def test_voc_refuses_an_image_that_is_listed_twice(tmp_path: Path) -> None:
    lists = write_voc(tmp_path) / "ImageSets" / "Main"
    for name in voc.CLASSES:
        (lists / f"{name}_val.txt").write_text("000040 1\n000030 1\n000040 1\n")
    said = refusal(lambda: load("voc2007", tmp_path, splits="train/val"))
    assert f"({lists}/aeroplane_val.txt lists image 000040 twice" in said


def test_voc_counts_missing_images_and_names_a_class_without_positives(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    for image in ("000000", "000020"):
        (folder / "JPEGImages" / f"{image}.jpg").unlink()
    sentence = refusal(lambda: load("voc2007", tmp_path, splits="train/val"))
    assert (
        "(split train lists 2 images that are missing, the first is"
        f" {folder}/JPEGImages/000000.jpg)" in sentence
    )
    write_voc(tmp_path, {"train": [[1] * 19 + [0]], "val": VOC["val"]})
    sentence = refusal(lambda: load("voc2007", tmp_path, splits="train/val"))
    assert sentence == "class 'tvmonitor' (label 19) of data set 'voc2007' has no training images"
    assert load("voc2007", tmp_path, splits="train/val", classes=19).classes == voc.CLASSES[:19]
