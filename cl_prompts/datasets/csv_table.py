"""Your own data set as CSV tables with rows ``path,label;label`` or ``path,label,domain``."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cl_prompts.checks import shown
from cl_prompts.datasets.domain_folders import named_source, split_cells
from cl_prompts.datasets.files import LayoutError, check_listed, listing
from cl_prompts.datasets.folders import ListedImages
from cl_prompts.datasets.images import ImageCache
from cl_prompts.datasets.readers import Source, split_rows

HEADER = ["path", "label"]
#: of a single-label table with domains
DOMAIN_HEADER = [*HEADER, "domain"]


class CsvRow(NamedTuple):
    """An image of a table: path, labels, and domain (empty without that column).

    Example:
        >>> CsvRow("a.jpg", ["cat", "dog"]).domain
        ''
    """

    path: str
    labels: list[str]
    domain: str = ""


def read_csv(
    folder: Path, cache: ImageCache | None, test_percent: float = 20, split_seed: int = 0
) -> Source:
    """Read ``train.csv`` and ``test.csv``, or one table, with rows like ``images/a.jpg,cat;dog``.

    The header is ``path,label``. Paths are relative to the folder. Labels are separated by
    semicolons; an image may have none. The classes are all labels that occur, sorted. Each image is
    listed once.

    With the header ``path,label,domain`` in all tables, the data set is single-label, and each
    image has a domain: ``images/a.jpg,cat,sketch``.

    Args:
        folder: of both tables, or the path of one.
        test_percent: percent of the images of one table that become test images; with domains, of
            each class in each domain.
        split_seed: seed of this choice.

    Raises:
        LayoutError: a missing or damaged table, missing or repeated images, domains in only one
            table.
        InputError: a class with too few images to split.
    """
    names = ("train.csv", "test.csv")
    files = [folder] if folder.is_file() else [folder / name for name in names]
    tables = [csv_rows(file) for file in files]
    with_domains = [bool(rows[0].domain) for rows in tables]
    if any(with_domains) and not all(with_domains):
        raise LayoutError(f"only one of {files[0]} and {files[1]} has a column domain: add it")
    classes = sorted({label for rows in tables for row in rows for label in row.labels})
    parts = [_listed(*table, classes) for table in zip(files, tables, strict=True)]
    if len(parts) == 1:
        (whole,) = parts
        if whole.domains is None:
            chosen = split_rows(whole.labels, test_percent, split_seed, classes)
        else:
            chosen = split_cells(whole.labels, whole.domains, test_percent, split_seed)
        parts = list(whole.divided(chosen))
    if all(with_domains):
        return named_source(parts, cache)
    return Source.of(parts, classes, cache)


def _listed(file: Path, rows: Sequence[CsvRow], classes: Sequence[str]) -> ListedImages:
    paths = [os.path.join(file.parent, row.path) for row in rows]
    check_listed(paths, str(file))
    if not rows[0].domain:
        return ListedImages(paths, label_matrix([row.labels for row in rows], classes))
    labels = np.array([row.labels[0] for row in rows])
    return ListedImages(paths, labels, np.array([row.domain for row in rows]))


def csv_rows(file: Path) -> list[CsvRow]:
    """Read the rows of a table, without its header.

    Raises:
        LayoutError: the table is missing or damaged.
    """
    try:
        # Spreadsheets write a byte-order mark.
        text = listing(file).decode("utf-8-sig").splitlines()
        lines = list(csv.reader(text, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LayoutError(f"{file} cannot be read as CSV in UTF-8: {error}") from error
    header = [name.strip() for name in lines[0]] if lines else []
    if header not in (HEADER, DOMAIN_HEADER):
        raise LayoutError(
            f"{file} must begin with the line path,label or path,label,domain, not with"
            f" {shown(','.join(header))}"
        )
    numbered = enumerate(lines[1:], start=2)
    rows = [_row(file, number, fields, header) for number, fields in numbered if fields]
    if not any(row.labels for row in rows):
        raise LayoutError(f"{file} has no image with a label")
    return rows


def _row(file: Path, line: int, fields: list[str], header: list[str]) -> CsvRow:
    form = "path,label,domain" if header == DOMAIN_HEADER else "path,label;label"
    wrong = LayoutError(f"line {line} of {file} is not {form}: {shown(','.join(fields))}")
    if len(fields) != len(header) or not fields[0].strip():
        raise wrong
    labels = [label.strip() for label in fields[1].split(";")]
    domain = fields[2].strip() if header == DOMAIN_HEADER else ""
    row = CsvRow(fields[0], [label for label in labels if label], domain)
    if header == DOMAIN_HEADER and (len(row.labels) != 1 or not row.domain):
        raise wrong
    return row


def label_matrix(labels: Sequence[Sequence[Any]], classes: Sequence[Any]) -> np.ndarray:
    """Return zeros and ones (images, classes) uint8 for the labels of each image."""
    column = {name: position for position, name in enumerate(classes)}
    matrix = np.zeros((len(labels), len(classes)), dtype=np.uint8)
    for row, names in enumerate(labels):
        matrix[row, [column[name] for name in names]] = 1
    return matrix
