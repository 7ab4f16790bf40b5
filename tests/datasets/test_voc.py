"""PASCAL VOC 2007 in miniature: label rules, splits, and what each refusal says."""

from pathlib import Path

import pytest

from cl_prompts.datasets.readers import VOC_CLASSES
from tests.datasets.toys import grey, load, shown, write_image

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
        for column, name in enumerate(VOC_CLASSES):
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
        assert data.classes == VOC_CLASSES == tuple(sorted(VOC_CLASSES))
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
    assert data.train.ignored.tolist() == [[False, False], [True, False], [True, True]]
    assert data.test.ignored.tolist() == [[False, False], [True, False]]
