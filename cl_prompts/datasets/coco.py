"""Microsoft COCO 2014 and 2017 in their official layout, as multi-label data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts.datasets.files import Folders, LayoutError, by_key, check_once, open_listing
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.readers import Source

# The categories of ids 1 to 90, ten of which are unused.
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
#: what is read of a file of instances
_KEYS = {"categories", "images", "annotations"}
_KEYS |= {"id", "name", "file_name", "image_id", "category_id"}


def read_coco(year: int, folder: Path, cache: int | None) -> Source:
    """COCO's training images, and its validation images as the test set.

    Labels are the alphabetical ranks of category names. Every instance annotation counts, crowds
    included, as in MULTI-LANE's published code. Images come in the order of their ids; those
    without annotations stay, without a label (2014: 82783 and 40504 images, 82081 and 40137 of
    them with labels).

    Raises:
        LayoutError: missing images, or annotations that are not COCO's.
    """
    folders = Folders()
    parts = []
    for split in (f"train{year}", f"val{year}"):
        file = folder / "annotations" / f"instances_{split}.json"
        names, labels = _labels(file)
        # In the order of ids, not of the file, which differs between downloads.
        paths = [str(folder / split / names[image]) for image in sorted(names)]
        parts.append((FileImages(folders.find_all(paths, str(file)), cache=cache), labels))
    return Source(*parts[0], *parts[1], CLASSES)


def _labels(file: Path) -> tuple[dict[int, str], np.ndarray]:
    """File name of each image id, and labels (n, 80) uint8 of the images in the order of ids."""
    found = _load(file)
    try:
        return _table(file, found)
    except (KeyError, TypeError) as error:
        raise LayoutError(f"{file} is no file of COCO instances: {error!r}") from error


def _table(file: Path, found: Any) -> tuple[dict[int, str], np.ndarray]:
    categories = ((entry["id"], entry["name"]) for entry in found["categories"])
    _check_categories(file, by_key(categories, str(file), "category id"))
    images = ((entry["id"], entry["file_name"]) for entry in found["images"])
    names = by_key(images, str(file), "image id")
    numbers = [entry["id"] for entry in found["annotations"] if "id" in entry]
    check_once(numbers, str(file), "annotation id")
    pairs = ((entry["image_id"], entry["category_id"]) for entry in found["annotations"])
    row = {image: position for position, image in enumerate(sorted(names))}
    # Ids run from 1 to 90 with gaps, columns from 0 to 79.
    column = {category: CLASSES.index(name) for category, name in CATEGORIES.items()}
    labels = np.zeros((len(row), len(CLASSES)), dtype=np.uint8)
    for image, category in pairs:
        if image not in row:
            raise LayoutError(f"{file} annotates image {image}, which it does not list")
        if category not in column:
            raise LayoutError(
                f"{file} has an instance of category {category!r}, which is none of COCO's 80"
            )
        labels[row[image], column[category]] = 1
    return names, labels


def _load(file: Path) -> Any:
    """The annotations without outlines and boxes, most of the file, which parsing drops."""
    with open_listing(file) as text:
        whole = text.read()
    try:
        return json.loads(whole, object_pairs_hook=_kept)
    except ValueError as error:
        raise LayoutError(f"{file} is no JSON: {error}") from error


def _kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key in _KEYS}


def _check_categories(file: Path, found: dict[int, str]) -> None:
    every = found.keys() | CATEGORIES.keys()
    wrong = sorted(key for key in every if found.get(key) != CATEGORIES.get(key))
    if wrong:
        names = (found.get(wrong[0]), CATEGORIES.get(wrong[0]))
        here, there = ("absent" if name is None else repr(name) for name in names)
        raise LayoutError(
            f"{len(wrong)} category ids of {file} do not match COCO's: id {wrong[0]} is {here}, and"
            f" should be {there}"
        )
