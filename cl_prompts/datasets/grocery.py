"""GroceryStoreDataset: photographs of fruit, vegetables and packages, taken by phone."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

import numpy as np

from cl_prompts.checks import shown
from cl_prompts.datasets.files import LayoutError, check_listed, listing
from cl_prompts.datasets.folders import ListedImages
from cl_prompts.datasets.images import ImageCache
from cl_prompts.datasets.readers import Source

_COLUMNS = (
    "Class Name (str)",
    "Class ID (int)",
    "Coarse Class Name (str)",
    "Coarse Class ID (int)",
)


def read_grocery(
    folder: Path, cache: ImageCache | None, labels: Literal["fine", "coarse"] = "fine"
) -> Source:
    """Read GroceryStoreDataset (Klasson, Zhang and Kjellström, WACV 2019), folder ``dataset``.

    The validation images join the training images. Iconic images are not read. Rows of the lists
    are ``path, fine label, coarse label``; in older versions the path alone, whose last folder is
    the class.

    Args:
        labels: 81 fine or 42 coarse classes.

    Raises:
        LayoutError: a missing list or image, or a label that does not match ``classes.csv``.
    """
    fine, coarse = _classes(folder / "classes.csv")
    names = {label: name for name, (label, _) in fine.items()}
    if sorted(names) != list(range(len(names))) or sorted(coarse) != list(range(len(coarse))):
        raise LayoutError(f"{folder / 'classes.csv'} does not number its classes from 0")
    parts = []
    for lists in (("train", "val"), ("test",)):
        rows = [row for name in lists for row in _rows(folder, name, fine)]
        chosen = np.array([both[labels == "coarse"] for _, both in rows], dtype=np.int64)
        parts.append(ListedImages([path for path, _ in rows], chosen))
    of_labels = coarse if labels == "coarse" else names
    classes = tuple(of_labels[label] for label in range(len(of_labels)))
    return Source.of(parts, classes, cache)


def _classes(file: Path) -> tuple[dict[str, tuple[int, int]], dict[int, str]]:
    """Return name -> fine and coarse label, and coarse label -> name."""
    fine: dict[str, tuple[int, int]] = {}
    coarse: dict[int, str] = {}
    try:
        for row in csv.DictReader(listing(file).decode("utf-8-sig").splitlines()):
            name, label, above, number = (row[column].strip() for column in _COLUMNS)
            fine[name] = (int(label), int(number))
            coarse[int(number)] = above
    except (KeyError, AttributeError, ValueError) as error:
        raise LayoutError(f"{file} does not have the columns {', '.join(_COLUMNS)}") from error
    return fine, coarse


def _rows(
    folder: Path, name: str, fine: dict[str, tuple[int, int]]
) -> list[tuple[str, tuple[int, int]]]:
    """Return path, fine and coarse label of each image of a list."""
    file = folder / f"{name}.txt"
    known = {tuple(map(str, both)): both for both in fine.values()}
    rows = []
    for line in filter(None, map(str.strip, listing(file).decode().splitlines())):
        path, *given = (part.strip() for part in line.split(","))
        own = known.get(tuple(given)) if given else fine.get(Path(path).parent.name)
        if own is None:
            raise LayoutError(f"{file} has a row without a class of classes.csv: {shown(line)}")
        rows.append((str(folder / path), own))
    check_listed([path for path, _ in rows], str(file))
    return rows
