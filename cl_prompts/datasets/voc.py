"""PASCAL VOC 2007 in the official layout, as a multi-label data set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from cl_prompts.datasets.files import check_listed, table
from cl_prompts.datasets.source import Part, Source

#: The 20 classes, in alphabetical order.
CLASSES: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
Difficult = Literal["negative", "ignore"]


def read_voc2007(
    folder: Path,
    *,
    splits: str = "trainval/test",
    difficult: Difficult = "negative",
) -> Source:
    """Read VOC 2007 from its images and image-level lists, without XML.

    The lists are ``ImageSets/Main/<class>_<split>.txt``. Only 1 is a positive label; -1 (absent)
    and 0 (only difficult objects of the class) are negative, as in MULTI-LANE's published code.
    Images with only difficult objects have no label.

    Args:
        splits: training and test split, such as "train/val", of train, val, trainval and test;
            train/val does not need the test archive.
        difficult: treatment of a class of which an image has only difficult objects: "negative", as
            published, or "ignore", which excludes the pair from average precision (``.ignored``);
            in training it remains negative.

    Raises:
        LayoutError: missing images.
    """
    parts = []
    for split in splits.split("/"):
        ids, values = _lists(folder / "ImageSets" / "Main", split)
        paths = [str(folder / "JPEGImages" / f"{image}.jpg") for image in ids]
        check_listed(paths, f"split {split}")
        ignored = values == 0 if difficult == "ignore" else None
        parts.append(Part(paths, (values == 1).astype(np.uint8), ignored=ignored))
    return Source(parts, CLASSES)


def _lists(folder: Path, split: str) -> tuple[list[str], np.ndarray]:
    """Return the image ids of a split, and the value (-1, 0 or 1) of each class, (n, 20) int8."""
    files = [folder / f"{name}_{split}.txt" for name in CLASSES]
    ids = [image for image, _ in table(files[0])]
    columns = [[int(value) for _, value in table(file)] for file in files]
    return ids, np.array(columns, dtype=np.int8).T
