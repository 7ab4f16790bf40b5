"""Tiny data sets in files and in memory, and what a refusal says."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from cl_prompts.datasets.dataset import DataSet, ImageSet
from cl_prompts.datasets.registry import load_dataset
from cl_prompts.errors import InputError


def write_image(
    path: Path, value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB"
) -> None:
    """A flat image whose grey value tells which one it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).convert(mode).save(path)


def grey(part: ImageSet) -> list[int]:
    return [round(part[i][0].mean().item() * 255) for i in range(len(part))]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def load(name: str, root: Path | None = None, **options: Any) -> DataSet:
    return load_dataset(name, root=root, **({"image_size": 8, "augment": False} | options))


def shown(data: DataSet, row: int) -> set[str]:
    return {data.classes[k] for k in np.flatnonzero(data.train.targets[row])}


def write_folder(
    root: Path, classes: Sequence[str] = ("ant", "bee", "cat"), test: str = "test"
) -> Path:
    for label, name in enumerate(classes):
        for i in range(3):
            write_image(root / "train" / name / f"{i}.png", 10 * label + i)
        write_image(root / test / name / "a.png", 100 + label)
    return root


class Own(TensorDataset):
    """A user's data set; its targets may be anything, its images are only there when asked for."""

    def __init__(self, targets: object, n: int | None = None) -> None:
        n = len(targets) if n is None else n
        super().__init__(torch.arange(n).float()[:, None, None, None].expand(n, 3, 4, 4) / 10)
        self.targets = targets


def write_csv(
    root: Path, train: Sequence[str] = ("a.jpg,cat;dog", "b.jpg,", "c.jpg,eel"), test: str = ""
) -> Path:
    for k, name in enumerate("abcdef"):
        write_image(root / "images" / f"{name}.jpg", 20 * k, size=(20, 16))
    rows = "".join(f"images/{row}\n" for row in train)
    (root / "train.csv").write_text(f"path,label\n{rows}")
    (root / "test.csv").write_text(
        "path,label\n" + (test or "images/d.jpg,cat; dog ;eel\n\nimages/e.jpg,\n")
    )
    return root


#: ids with gaps, as the official ones
CATEGORIES = {1: "zebra", 2: "ant", 13: "cat", 90: "bee"}


def write_coco(root: Path, year: int = 2014) -> Path:
    """Three training images, one without annotations, and a test image of all classes."""
    instances = {"train": {7: [1, 2], 3: [13, 90], 5: []}, "val": {11: [*CATEGORIES]}}
    for split, images in instances.items():
        names = {image: f"COCO_{split}{year}_{image:012d}.jpg" for image in images}
        for image, name in names.items():
            write_image(root / f"{split}{year}" / name, 10 * image, size=(20, 16))
        pairs = [(image, k) for image, own in images.items() for k in own + own[:1]]
        content = {
            "images": [{"id": image, "file_name": name} for image, name in names.items()],
            "annotations": [{"image_id": i, "category_id": k, "iscrowd": k % 2} for i, k in pairs],
            "categories": [{"id": k, "name": name} for k, name in CATEGORIES.items()],
        }
        file = root / "annotations" / f"instances_{split}{year}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    return root


GROCERY_HEADER = (
    "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
    "Iconic Image Path (str),Product Description Path (str)"
)
GROCERIES = (("Royal-Gala", 0, "Apple", 0), ("Pink-Lady", 1, "Apple", 0), ("Lime", 2, "Lime", 1))
GROCERY_FOLDERS = ("Fruit/Apple/Royal-Gala", "Fruit/Apple/Pink-Lady", "Fruit/Lime")


def write_grocery(root: Path) -> Path:
    """Two training images, a validation image and a test image of each class, and iconic ones."""
    root.mkdir(parents=True)
    table = [GROCERY_HEADER]
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for (name, fine, above, coarse), folder in zip(GROCERIES, GROCERY_FOLDERS, strict=True):
        iconic = f"iconic-images-and-descriptions/{folder}/{name}_Iconic.jpg"
        table.append(f"{name},{fine},{above},{coarse},/{iconic},/{folder}/{name}_Description.txt")
        write_image(root / iconic, 255)
        for part, numbers in (("train", (1, 2)), ("val", (3,)), ("test", (4,))):
            for number in numbers:
                path = f"{part}/{folder}/{name}_{number:03d}.jpg"
                write_image(root / path, 40 * number + 10 * fine)
                lists[part].append(f"{path}, {fine}, {coarse}")
    (root / "classes.csv").write_text("\n".join(table) + "\n")
    for part, lines in lists.items():
        (root / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return root
