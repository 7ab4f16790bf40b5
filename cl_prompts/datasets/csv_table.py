"""Your own data set as CSV tables with rows ``path,label;label`` or ``path,label,domain``."""

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cl_prompts.checks import shown
from cl_prompts.datasets.classes import label_matrix
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.decoding import FileImages
from cl_prompts.datasets.files import LayoutError, check_listed
from cl_prompts.datasets.source import Source, source_of

HEADER = ["path", "label"]
#: further columns of a single-label table
_FURTHER = ("domain", "group")


class CsvRow(NamedTuple):
    """An image of a table: path, labels, and domain and group (empty without these columns).

    Example:
        >>> CsvRow("a.jpg", ["cat", "dog"]).domain
        ''
    """

    path: str
    labels: list[str]
    domain: str = ""
    group: str = ""


def read_csv(folder: Path, test_percent: float = 20, split_seed: int = 0) -> Source:
    """Read ``train.csv`` and ``test.csv``, or one table, with rows like ``images/a.jpg,cat;dog``.

    The header is ``path,label``. Paths are relative to the folder. Labels are separated by
    semicolons; an image may have none. The classes are all labels that occur, sorted. Each image is
    listed once.

    With the header ``path,label,domain`` in all tables, the data set is single-label, and each
    image has a domain: ``images/a.jpg,cat,sketch``. A column ``group`` names the group of each
    image's class, such as ``pet``; such a data set is single-label, too.

    Args:
        folder: of both tables, or the path of one.
        test_percent: percent of the images of one table that become test images; with domains, of
            each class in each domain.
        split_seed: seed of this choice.

    Raises:
        OSError: a missing table.
        LayoutError: a damaged table, missing or repeated images, domains in only one table.
        InputError: a class with too few images to split.
    """
    names = ("train.csv", "test.csv")
    files = [folder] if folder.is_file() else [folder / name for name in names]
    tables = [csv_rows(file) for file in files]
    for name in _FURTHER:
        if len({bool(getattr(rows[0], name)) for rows in tables}) > 1:
            raise LayoutError(f"only one of {files[0]} and {files[1]} has a column {name}: add it")
    classes = tuple(sorted({label for rows in tables for row in rows for label in row.labels}))
    parts = []
    for file, rows in zip(files, tables, strict=True):
        paths = [os.path.join(file.parent, row.path) for row in rows]
        check_listed(paths, str(file))
        domains = np.array([row.domain for row in rows]) if rows[0].domain else None
        if rows[0].domain or rows[0].group:
            labels = np.searchsorted(classes, [row.labels[0] for row in rows])
        else:
            labels = label_matrix([row.labels for row in rows], classes)
        parts.append(ImageSet(FileImages(paths), labels, domains=domains))
    groups = [(row.labels[0], row.group) for rows in tables for row in rows if row.group]
    return source_of(parts, classes, test_percent, split_seed, groups)


def csv_rows(file: Path) -> list[CsvRow]:
    """Read the rows of a table, without its header.

    Raises:
        OSError: the table cannot be read.
        LayoutError: a table that is damaged, or has no labels.
    """
    try:
        # Spreadsheets write a byte-order mark.
        lines = [*csv.reader(file.read_text("utf-8-sig").splitlines())]
    except UnicodeDecodeError as error:
        raise LayoutError(f"{file} cannot be read as CSV in UTF-8: {error}") from error
    header = [name.strip() for name in lines[0]] if lines else []
    further = header[2:]
    if header[:2] != HEADER or further != [name for name in _FURTHER if name in further]:
        raise LayoutError(
            f"{file} must begin with the line path,label or path,label,domain, not with"
            f" {shown(','.join(header))}"
        )
    rows = []
    for number, fields in enumerate(lines[1:], start=2):
        if not fields:
            continue
        path, text, *more = map(str.strip, fields) if len(fields) == len(header) else ("", "")
        labels = [label.strip() for label in text.split(";") if label.strip()]
        if not path or (further and (len(labels) != 1 or not all(more))):
            form = ",".join(header) if further else "path,label;label"
            raise LayoutError(f"line {number} of {file} is not {form}: {shown(','.join(fields))}")
        rows.append(CsvRow(path, labels, **dict(zip(further, more, strict=True))))
    if not any(row.labels for row in rows):
        raise LayoutError(f"{file} has no image with a label")
    return rows
