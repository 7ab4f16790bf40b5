"""A multi-label data set of one's own as two CSV tables with rows like ``path,label;label``."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

import numpy as np

from cl_prompts.checks import shown
from cl_prompts.datasets.files import Folders, LayoutError, open_listing
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.readers import Source

HEADER = ["path", "label"]


def read_csv(folder: Path, cache: int | None) -> Source:
    """``train.csv`` and ``test.csv`` with the header ``path,label`` and rows like
    ``images/a.jpg,cat;dog``.

    Paths are relative to the folder. Labels are separated by semicolons; an image may have none.
    The classes are all labels of both files in sorted order. An image, links followed, may be
    listed only once.

    Raises:
        LayoutError: a missing or damaged table, missing or double images.
    """
    files = (folder / "train.csv", folder / "test.csv")
    tables = [csv_rows(file) for file in files]
    classes = label_names(tables)
    folders = Folders()
    parts = []
    for file, rows in zip(files, tables, strict=True):
        listed = [os.path.join(folder, path) for path, _ in rows]
        paths = folders.find_all(listed, str(file))
        labels = label_matrix([names for _, names in rows], classes)
        parts.append((FileImages(paths, cache=cache), labels))
    return Source(*parts[0], *parts[1], classes)


def label_names(tables: Sequence[Sequence[tuple[str, list[str]]]]) -> tuple[str, ...]:
    """All labels that occur, sorted."""
    names: set[str] = set()
    for rows in tables:
        names.update(*(labels for _, labels in rows))
    return tuple(sorted(names))


def csv_rows(file: Path) -> list[tuple[str, list[str]]]:
    """Path and labels of each row.

    Raises:
        LayoutError: the table is missing or damaged.
    """
    rows: list[tuple[str, list[str]]] = []
    try:
        with TextIOWrapper(open_listing(file), encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            header = next(reader, [])
            if [name.strip() for name in header] != HEADER:
                raise LayoutError(
                    f"{file} must begin with the line path,label, not with"
                    f" {shown(','.join(header))}"
                )
            rows += [_row(file, reader.line_num, fields) for fields in reader if fields]
    except (UnicodeDecodeError, csv.Error) as error:
        raise LayoutError(f"{file} cannot be read as CSV in UTF-8: {error}") from error
    if not any(labels for _, labels in rows):
        raise LayoutError(f"{file} has no image with a label")
    return rows


def _row(file: Path, line: int, fields: list[str]) -> tuple[str, list[str]]:
    if len(fields) != 2 or not fields[0].strip():
        row = shown(",".join(fields))
        raise LayoutError(f"line {line} of {file} is no path,label;label: {row}")
    labels = (label.strip() for label in fields[1].split(";"))
    return fields[0].strip(), [label for label in labels if label]


def label_matrix(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> np.ndarray:
    """Zeros and ones (images, classes) uint8 for the labels of each image."""
    column = {name: position for position, name in enumerate(classes)}
    matrix = np.zeros((len(labels), len(classes)), dtype=np.uint8)
    for row, names in enumerate(labels):
        matrix[row, [column[name] for name in names]] = 1
    return matrix
