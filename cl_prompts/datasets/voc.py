"""PASCAL VOC 2007 in its official layout, as a multi-label data set of image-level labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cl_prompts.datasets.files import Folders, check_apart
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.readers import LayoutError, Source, table
from cl_prompts.errors import InputError, unknown

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
SPLITS = ("train", "val", "trainval", "test")
APART = ("trainval/test", "train/val", "train/test", "val/test")  # pairs without common images
CODES = {"1": 1, "0": 0, "-1": -1}


def read_voc2007(
    folder: Path, cache: int | None, *, splits: str = "trainval/test", difficult: str = "negative"
) -> Source:
    """VOC 2007 from ``JPEGImages`` and the image-level lists
    ``ImageSets/Main/<class>_<split>.txt``; no XML is read.

    Only the value 1 of a list is a positive label; -1 (absent) and 0 (all objects of the class are
    difficult) are negative, as in MULTI-LANE's published code. Images whose every object is
    difficult stay, without a label.

    Args:
        folder: VOC2007.
        cache: see ``FileImages``.
        splits: "training/test" split: two of train, val, trainval and test.
        difficult: "negative", or "ignore", which marks the pairs of value 0 so that average
            precision leaves them out; they remain negatives in training.
    """
    names = splits.split("/")
    if len(names) != 2 or not set(names) <= set(SPLITS):
        raise InputError(
            f"splits of VOC 2007 must be two of {', '.join(SPLITS)}, like train/val, not {splits!r}"
        )
    if difficult not in ("negative", "ignore"):
        raise unknown("treatment of difficult objects", difficult, ("negative", "ignore"))
    (ids, values), (test_ids, test_values) = (
        _lists(folder / "ImageSets" / "Main", name) for name in names
    )
    check_apart(ids, test_ids, f"VOC 2007's {names[0]}", f"its {names[1]} split")
    folders = Folders()
    paths = [
        folders.find_all(
            [str(folder / "JPEGImages" / f"{image}.jpg") for image in images], f"split {name}"
        )
        for images, name in zip((ids, test_ids), names, strict=True)
    ]
    ignore = difficult == "ignore"
    return Source(
        FileImages(paths[0], cache=cache),
        (values == 1).astype(np.uint8),
        FileImages(paths[1], cache=cache),
        (test_values == 1).astype(np.uint8),
        CLASSES,
        values == 0 if ignore else None,
        test_values == 0 if ignore else None,
    )


def _lists(folder: Path, split: str) -> tuple[list[str], np.ndarray]:
    """Image ids of a split, and the value (-1, 0 or 1) of each image and class, (n, 20) int8."""
    files = [folder / f"{name}_{split}.txt" for name in CLASSES]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise LayoutError(_what_is_there(folder, split, missing))
    rows = [table(file, 2) for file in files]
    ids = [image for image, _ in rows[0]]
    values = np.empty((len(ids), len(CLASSES)), dtype=np.int8)
    for column, (file, listed) in enumerate(zip(files, rows, strict=True)):
        if [image for image, _ in listed] != ids:
            raise LayoutError(
                f"{file} lists other images than {files[0].name}, or in another order"
            )
        wrong = next((value for _, value in listed if value not in CODES), None)
        if wrong is not None:
            raise LayoutError(f"{file} holds {wrong!r} where -1, 0 or 1 should be")
        values[:, column] = [CODES[value] for _, value in listed]
    if len(set(ids)) < len(ids):
        raise LayoutError(f"{files[0]} lists an image twice")
    return ids, values


def _what_is_there(folder: Path, split: str, missing: list[str]) -> str:
    """Which lists of a split are missing, and which pair of splits would work."""
    there = {
        name
        for name in SPLITS
        if all((folder / f"{label}_{name}.txt").is_file() for label in CLASSES)
    }
    pair = next((pair for pair in APART if set(pair.split("/")) <= there), None)
    rest = f" and {len(missing) - 1} more lists" if len(missing) > 1 else ""
    hint = f"; with what is there, splits={pair} works" if pair else ""
    return f"split {split} has no {folder / missing[0]}{rest}{hint}"
