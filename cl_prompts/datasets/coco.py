"""Microsoft COCO 2014 and 2017 in the official layout, as multi-label data sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cl_prompts.datasets.files import LayoutError, check_listed, listing
from cl_prompts.datasets.folders import ListedImages
from cl_prompts.datasets.images import ImageCache
from cl_prompts.datasets.readers import Source

# Categories of the ids 1 to 90, ten of which are unused.
_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
-, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra,
giraffe, -, backpack, umbrella, -, -, handbag, tie, suitcase, frisbee, skis, snowboard,
sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, -,
wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, -, dining table, -, -, toilet, -,
tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, -,
book, clock, vase, scissors, teddy bear, hair drier, toothbrush
"""

#: Official category ids and names, 80 of them.
CATEGORIES = {
    number: name.strip()
    for number, name in enumerate(_NAMES.split(","), start=1)
    if name.strip() != "-"
}
CLASSES = tuple(sorted(CATEGORIES.values()))


def read_coco(year: int, folder: Path, cache: ImageCache | None) -> Source:
    """Read COCO's training images, and its validation images as the test set.

    Labels are the alphabetical ranks of category names. All instance annotations count, including
    crowds, as in MULTI-LANE's published code. Images are sorted by id; images without annotations
    have no label (2014: 82783 and 40504 images, 82081 and 40137 of them with labels).

    Raises:
        LayoutError: missing images, or annotations in another format.
    """
    parts = []
    for split in (f"train{year}", f"val{year}"):
        file = folder / "annotations" / f"instances_{split}.json"
        names, labels = _labels(file)
        # By id: the order in the file differs between downloads.
        paths = [str(folder / split / names[image]) for image in sorted(names)]
        check_listed(paths, str(file))
        parts.append(ListedImages(paths, labels))
    return Source.of(parts, CLASSES, cache)


def _labels(file: Path) -> tuple[dict[int, str], np.ndarray]:
    """Return the file name of each image id, and labels (n, 80) uint8 sorted by id."""
    text = listing(file)
    try:
        found = json.loads(text)
        categories = {entry["id"]: entry["name"] for entry in found["categories"]}
        names = {entry["id"]: entry["file_name"] for entry in found["images"]}
        pairs = [(entry["image_id"], entry["category_id"]) for entry in found["annotations"]]
    except (ValueError, KeyError, TypeError) as error:
        raise LayoutError(f"{file} is not a COCO instances file: {error!r}") from error
    if categories != CATEGORIES:
        raise LayoutError(f"the category ids of {file} do not match COCO's")
    row = {image: position for position, image in enumerate(sorted(names))}
    # Ids run from 1 to 90 with gaps, columns from 0 to 79.
    column = {category: CLASSES.index(name) for category, name in CATEGORIES.items()}
    labels = np.zeros((len(row), len(CLASSES)), dtype=np.uint8)
    for image, category in pairs:
        if image not in row:
            raise LayoutError(f"{file} annotates image {image}, which it does not list")
        labels[row[image], column[category]] = 1
    return names, labels
