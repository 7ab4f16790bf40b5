"""Your own data set as CSV tables with rows ``path,label;label`` or ``path,label,domain``."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cl_prompts.checks import shown
from cl_prompts.datasets.domain_folders import named_source
from cl_prompts.datasets.files import LayoutError, check_listed, listing
from cl_prompts.datasets.folders import ListedImages
from cl_prompts.datasets.images import ImageCache
from cl_prompts.datasets.readers import Source

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


def read_csv(folder: Path, cache: ImageCache | None) -> Source:
    """Read ``train.csv`` and ``test.csv`` with rows like ``images/a.jpg,cat;dog``.

    The header is ``path,label``. Paths are relative to the folder. Labels are separated by
    semicolons; an image may have none. The classes are all labels of both files, sorted. Each image
    is listed once.

    With the header ``path,label,domain`` in both files, the data set is single-label, and each
    image has a domain: ``images/a.jpg,cat,sketch``.

    Raises:
        LayoutError: a missing or damaged table, missing or repeated images, domains in only one
            table.
    """
    files = (folder / "train.csv", folder / "test.csv")
    tables = [csv_rows(file) for file in files]
    classes = label_names(tables)
    paths = []
    for file, rows in zip(files, tables, strict=True):
        listed = [os.path.join(folder, row.path) for row in rows]
        check_listed(listed, str(file))
        paths.append(listed)
    with_domains = [has_domains(rows) for rows in tables]
    if all(with_domains):
        labels = [np.array([row.labels[0] for row in rows]) for rows in tables]
        domains = [np.array([row.domain for row in rows]) for rows in tables]
        return named_source(map(ListedImages, paths, labels, domains), cache)
    if any(with_domains):
        raise LayoutError(f"only one of {files[0]} and {files[1]} has a column domain: add it")
    matrices = [label_matrix([row.labels for row in rows], classes) for rows in tables]
    return Source.of(map(ListedImages, paths, matrices), classes, cache)


def has_domains(rows: Sequence[CsvRow]) -> bool:
    """Return whether the table has a column domain."""
    return bool(rows[0].domain)


def label_names(tables: Sequence[Sequence[CsvRow]]) -> tuple[str, ...]:
    """Return all labels that occur, sorted."""
    return tuple(sorted({label for rows in tables for row in rows for label in row.labels}))


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
