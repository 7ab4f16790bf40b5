"""GroceryStoreDataset: photographs of fruit, vegetables and packages, taken by phone."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

import numpy as np

from cl_prompts.datasets.files import check_listed
from cl_prompts.datasets.source import Part, Source


def read_grocery(folder: Path, labels: Literal["fine", "coarse"] = "fine") -> Source:
    """Read GroceryStoreDataset (Klasson, Zhang and Kjellström, WACV 2019), folder ``dataset``.

    The validation images join the training images. Iconic images are not read. Rows of the lists
    are ``path, fine label, coarse label``.

    Args:
        labels: 81 fine or 42 coarse classes.

    Raises:
        LayoutError: a missing image.
    """
    column = "Coarse Class" if labels == "coarse" else "Class"
    with (folder / "classes.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [*csv.DictReader(file)]
    names = {int(row[f"{column} ID (int)"]): row[f"{column} Name (str)"].strip() for row in rows}
    parts = []
    for lists in (("train", "val"), ("test",)):
        paths: list[str] = []
        targets: list[int] = []
        for name in lists:
            for line in (folder / f"{name}.txt").read_text("utf-8").splitlines():
                path, fine, coarse = line.split(",")
                paths.append(str(folder / path.strip()))
                targets.append(int(coarse if labels == "coarse" else fine))
        check_listed(paths, f"the lists {' and '.join(lists)}")
        parts.append(Part(paths, np.array(targets)))
    return Source(parts, tuple(names[label] for label in range(len(names))))
