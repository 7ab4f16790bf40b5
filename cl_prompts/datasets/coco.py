"""Microsoft COCO 2014 and 2017 in the official layout, as multi-label data sets."""

from __future__ import annotations

import json
from pathlib import Path

from cl_prompts.datasets.classes import label_matrix
from cl_prompts.datasets.files import check_listed
from cl_prompts.datasets.source import Part, Source


def read_coco(year: int, folder: Path) -> Source:
    """Read COCO's training images, and its validation images as the test set.

    Labels are the alphabetical ranks of category names. All instance annotations count, including
    crowds, as in MULTI-LANE's published code. Images are sorted by id; images without annotations
    have no label (2014: 82783 and 40504 images, 82081 and 40137 of them with labels).

    Raises:
        LayoutError: missing images.
    """
    parts = []
    for split in (f"train{year}", f"val{year}"):
        file = folder / "annotations" / f"instances_{split}.json"
        found = json.loads(file.read_bytes())
        categories = {entry["id"]: entry["name"] for entry in found["categories"]}
        names = {entry["id"]: entry["file_name"] for entry in found["images"]}
        # By id: the order in the file differs between downloads.
        labels: dict[int, list[str]] = {image: [] for image in sorted(names)}
        for entry in found["annotations"]:
            labels[entry["image_id"]].append(categories[entry["category_id"]])
        paths = [str(folder / split / names[image]) for image in labels]
        check_listed(paths, str(file))
        classes = tuple(sorted(categories.values()))
        parts.append(Part(paths, label_matrix(list(labels.values()), classes)))
    return Source(parts, classes)
