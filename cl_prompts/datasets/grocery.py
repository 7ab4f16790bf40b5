"""GroceryStoreDataset: photographs of fruit, vegetables and packages, taken by phone."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

import numpy as np

from cl_prompts.checks import shown
from cl_prompts.datasets.files import LayoutError, check_listed, listing
from cl_prompts.datasets.source import Part, Source

_COLUMNS = (
    "Class Name (str)",
    "Class ID (int)",
    "Coarse Class Name (str)",
    "Coarse Class ID (int)",
)


def read_grocery(folder: Path, labels: Literal["fine", "coarse"] = "fine") -> Source:
    """Read GroceryStoreDataset (Klasson, Zhang and Kjellström, WACV 2019), folder ``dataset``.

    The validation images join the training images. Iconic images are not read. Rows of the lists
    are ``path, fine label, coarse label``; in older versions the path alone, whose last folder is
    the class.

    Args:
        labels: 81 fine or 42 coarse classes.

    Raises:
        LayoutError: a missing list or image, or a label that does not match ``classes.csv``.
    """
    file = folder / "classes.csv"
    place = 2 * (labels == "coarse")
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    names: dict[int, str] = {}
    try:
        for row in csv.DictReader(listing(file).decode("utf-8-sig").splitlines()):
            fields = tuple(row[column].strip() for column in _COLUMNS)
            # A row of a list has both labels, or ends in the folder of the class.
            known[fields[1::2]] = known[fields[:1]] = fields
            names[int(fields[place + 1])] = fields[place]
    except (KeyError, AttributeError, ValueError) as error:
        raise LayoutError(f"{file} does not have the columns {', '.join(_COLUMNS)}") from error
    if sorted(names) != list(range(len(names))):
        raise LayoutError(f"{file} does not number its classes from 0")
    parts = []
    for lists in (("train", "val"), ("test",)):
        rows = [row for name in lists for row in _rows(folder / f"{name}.txt", known)]
        chosen = np.array([int(fields[place + 1]) for _, fields in rows])
        parts.append(Part([path for path, _ in rows], chosen))
    return Source(parts, tuple(names[label] for label in sorted(names)))


def _rows(
    file: Path, known: dict[tuple[str, ...], tuple[str, ...]]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return path and class of each image of a list."""
    rows = []
    for line in filter(None, map(str.strip, listing(file).decode().splitlines())):
        path, *given = (part.strip() for part in line.split(","))
        own = known.get(tuple(given) or (Path(path).parent.name,))
        if own is None:
            raise LayoutError(f"{file} has a row without a class of classes.csv: {shown(line)}")
        rows.append((str(file.parent / path), own))
    check_listed([path for path, _ in rows], str(file))
    return rows
