"""A multi-label data set of one's own as two tables: ``train.csv`` and ``test.csv``, rows of
``path,label;label``."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cl_prompts.datasets.files import Folders, check_apart
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.readers import LayoutError, Source

HEADER = ["path", "label"]


def read_csv(folder: Path, cache: int | None) -> Source:
    """``train.csv`` and ``test.csv`` with the header ``path,label`` and rows like
    ``images/a.jpg,cat;dog``.

    Paths are relative to the folder. Labels are parted by semicolons; an image may have none. The
    classes are all labels of both files in sorted order. An image, links followed, may be listed
    once only.

    Args:
        folder: holds the two tables.
        cache: see ``FileImages``.
    """
    folders = Folders()
    tables = [_rows(folder / name) for name in ("train.csv", "test.csv")]
    classes = tuple(sorted({label for rows in tables for _, labels in rows for label in labels}))
    paths = []
    for rows, name in zip(tables, ("train.csv", "test.csv"), strict=True):
        listed = [os.path.join(folder, path) for path, _ in rows]
        paths.append(folders.find_all(listed, str(folder / name)))
        _check_once(folder / name, paths[-1])
    check_apart(paths[0], paths[1], str(folder / "train.csv"), "test.csv")
    parts = [
        (FileImages(there, cache=cache), _matrix([labels for _, labels in rows], classes))
        for there, rows in zip(paths, tables, strict=True)
    ]
    return Source(*parts[0], *parts[1], classes)


def _rows(file: Path) -> list[tuple[str, list[str]]]:
    """Path and labels of each row."""
    if not file.is_file():
        raise LayoutError(f"{file} is missing")
    rows: list[tuple[str, list[str]]] = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            header = next(reader, [])
            if [name.strip() for name in header] != HEADER:
                raise LayoutError(
                    f"{file} must begin with the line path,label, not with {','.join(header)!r}"
                )
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != 2 or not fields[0].strip():
                    raise LayoutError(
                        f"line {reader.line_num} of {file} is no path,label;label:"
                        f" {','.join(fields)!r}"
                    )
                labels = [label.strip() for label in fields[1].split(";")]
                rows.append((fields[0].strip(), [label for label in labels if label]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LayoutError(f"{file} cannot be read as CSV in UTF-8: {error}") from error
    if not any(labels for _, labels in rows):
        raise LayoutError(f"{file} has no image with a label")
    return rows


def _check_once(file: Path, paths: Sequence[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise LayoutError(
                f"{file} lists image {path} twice: give all labels of an image in one row"
            )
        seen.add(path)


def _matrix(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> np.ndarray:
    column = {name: position for position, name in enumerate(classes)}
    matrix = np.zeros((len(labels), len(classes)), dtype=np.uint8)
    for row, names in enumerate(labels):
        matrix[row, [column[name] for name in names]] = 1
    return matrix
