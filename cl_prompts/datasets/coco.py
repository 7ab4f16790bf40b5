"""Microsoft COCO 2014 and 2017 in the official layout, as multi-label data sets."""

from __future__ import annotations

import json
from pathlib import Path

from cl_prompts.datasets.classes import label_matrix
from cl_prompts.datasets.files import LayoutError, check_listed, listing
from cl_prompts.datasets.source import Part, Source


def read_coco(year: int, folder: Path) -> Source:
    """Read COCO's training images, and its validation images as the test set.

    Labels are the alphabetical ranks of category names. All instance annotations count, including
    crowds, as in MULTI-LANE's published code. Images are sorted by id; images without annotations
    have no label (2014: 82783 and 40504 images, 82081 and 40137 of them with labels).

    Raises:
        LayoutError: missing images, or annotations in another format.
    """
    found = [_part(folder, f"train{year}"), _part(folder, f"val{year}")]
    (train, classes), (test, test_classes) = found
    if classes != test_classes:
        raise LayoutError(f"the categories of train{year} and val{year} differ")
    return Source([train, test], classes)


def _part(folder: Path, split: str) -> tuple[Part, tuple[str, ...]]:
    """Return the images of a split, and the class names."""
    file = folder / "annotations" / f"instances_{split}.json"
    text = listing(file)
    try:
        found = json.loads(text)
        categories = {entry["id"]: entry["name"] for entry in found["categories"]}
        names = {entry["id"]: entry["file_name"] for entry in found["images"]}
        # By id: the order in the file differs between downloads.
        labels: dict[int, list[str]] = {image: [] for image in sorted(names)}
        for entry in found["annotations"]:
            labels[entry["image_id"]].append(categories[entry["category_id"]])
    except (ValueError, KeyError, TypeError) as error:
        raise LayoutError(f"{file} is not a COCO instances file: {error!r}") from error
    paths = [str(folder / split / names[image]) for image in labels]
    check_listed(paths, str(file))
    classes = tuple(sorted(categories.values()))
    return Part(paths, label_matrix(list(labels.values()), classes)), classes
