"""Microsoft COCO 2014 and 2017 in their official layout, as multi-label data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts.datasets.files import Folders, check_apart
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.readers import LayoutError, Source

#: Official category ids and names: 80 of the ids 1 to 90.
CATEGORIES = {
    1: "person",
    2: "bicycle",
    3: "car",
    4: "motorcycle",
    5: "airplane",
    6: "bus",
    7: "train",
    8: "truck",
    9: "boat",
    10: "traffic light",
    11: "fire hydrant",
    13: "stop sign",
    14: "parking meter",
    15: "bench",
    16: "bird",
    17: "cat",
    18: "dog",
    19: "horse",
    20: "sheep",
    21: "cow",
    22: "elephant",
    23: "bear",
    24: "zebra",
    25: "giraffe",
    27: "backpack",
    28: "umbrella",
    31: "handbag",
    32: "tie",
    33: "suitcase",
    34: "frisbee",
    35: "skis",
    36: "snowboard",
    37: "sports ball",
    38: "kite",
    39: "baseball bat",
    40: "baseball glove",
    41: "skateboard",
    42: "surfboard",
    43: "tennis racket",
    44: "bottle",
    46: "wine glass",
    47: "cup",
    48: "fork",
    49: "knife",
    50: "spoon",
    51: "bowl",
    52: "banana",
    53: "apple",
    54: "sandwich",
    55: "orange",
    56: "broccoli",
    57: "carrot",
    58: "hot dog",
    59: "pizza",
    60: "donut",
    61: "cake",
    62: "chair",
    63: "couch",
    64: "potted plant",
    65: "bed",
    67: "dining table",
    70: "toilet",
    72: "tv",
    73: "laptop",
    74: "mouse",
    75: "remote",
    76: "keyboard",
    77: "cell phone",
    78: "microwave",
    79: "oven",
    80: "toaster",
    81: "sink",
    82: "refrigerator",
    84: "book",
    85: "clock",
    86: "vase",
    87: "scissors",
    88: "teddy bear",
    89: "hair drier",
    90: "toothbrush",
}
CLASSES = tuple(sorted(CATEGORIES.values()))
_KEYS = frozenset(
    {"images", "annotations", "categories", "id", "name", "file_name", "image_id", "category_id"}
)


def read_coco(year: int, folder: Path, cache: int | None) -> Source:
    """COCO's training images, and its validation images as the test set; labels are the
    alphabetical ranks of names.

    Every instance annotation counts, crowds included, as in MULTI-LANE's published code. Images
    come in the order of their ids, those without annotations too, without a label (2014: 82783 and
    40504 images, 82081 and 40137 of them with labels).

    Args:
        year: 2014 or 2017.
        folder: holds ``train<year>``, ``val<year>`` and
            ``annotations/instances_{train,val}<year>.json``.
        cache: see ``FileImages``.
    """
    folders, parts, ids = Folders(), [], []
    for split in (f"train{year}", f"val{year}"):
        file = folder / "annotations" / f"instances_{split}.json"
        names, labels = _labels(file)
        paths = [str(folder / split / names[image]) for image in sorted(names)]
        parts.append((FileImages(folders.find_all(paths, str(file)), cache=cache), labels))
        ids.append(sorted(names))
    check_apart(
        ids[0], ids[1], f"COCO's instances_train{year}.json", f"its instances_val{year}.json"
    )
    return Source(*parts[0], *parts[1], CLASSES)


def _labels(file: Path) -> tuple[dict[int, str], np.ndarray]:
    """The file name of each image id, and the labels (n, 80) uint8 of the images in the order of
    their ids."""
    content = _load(file)
    try:
        categories = {category["id"]: category["name"] for category in content["categories"]}
        names = {image["id"]: image["file_name"] for image in content["images"]}
        pairs = [
            (instance["image_id"], instance["category_id"]) for instance in content["annotations"]
        ]
    except KeyError as error:
        raise LayoutError(f"{file} is no file of COCO instances: {error} is missing") from error
    except TypeError as error:
        raise LayoutError(
            f"{file} is no file of COCO instances: it holds no lists of images and annotations"
        ) from error
    _check_categories(file, categories)
    row = {image: position for position, image in enumerate(sorted(names))}
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
    """The annotations without outlines and boxes, which are dropped while parsing: they are most of
    the file."""
    if not file.is_file():
        raise LayoutError(f"{file} is missing")
    try:
        with file.open(encoding="utf-8") as text:
            return json.load(
                text, object_hook=lambda entry: {key: entry[key] for key in _KEYS & entry.keys()}
            )
    except ValueError as error:
        raise LayoutError(f"{file} is no JSON: {error}") from error


def _check_categories(file: Path, found: dict[int, str]) -> None:
    wrong = sorted(
        key for key in found.keys() | CATEGORIES.keys() if found.get(key) != CATEGORIES.get(key)
    )
    if wrong:
        said = [names.get(wrong[0]) for names in (found, CATEGORIES)]
        here, there = ("absent" if name is None else repr(name) for name in said)
        raise LayoutError(
            f"{len(wrong)} category ids of {file} do not match COCO's: id {wrong[0]} is {here}, and"
            f" should be {there}"
        )
