"""Tables of the report as CSV inside the page: every number as a fraction, unrounded."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from cl_prompts.experiments.results.cells import Cell
from cl_prompts.experiments.results.columns import Column
from cl_prompts.experiments.results.sections import Section

Table = list[list[Any]]


def csv_uri(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as the address of a CSV file that is part of the page.

    >>> csv_uri([["strategy", "a_auc"], ["mvp", 0.5]])
    'data:text/csv;charset=utf-8,strategy%2Ca_auc%0Amvp%2C0.5%0A'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return "data:text/csv;charset=utf-8," + quote(text.getvalue(), safe=" ").replace(" ", "%20")


def results_rows(section: Section, columns: Sequence[Column]) -> Table:
    """Mean, sample standard deviation and number of values of each row in each column."""
    rows: Table = [["strategy", "seeds"]]
    for column in columns:
        rows[0] += [f"{key_of(column)}_{part}" for part in ("mean", "sd", "n")]
    values = [section.values(column.value) for column in columns]
    for label, group in section.groups.items():
        line: list[Any] = [label, len(group)]
        for found in values:
            line += _moments(found[label])
        rows.append(line)
    return rows


def difference_rows(columns: Sequence[Column], cells: dict[str, list[Cell]]) -> Table:
    """Paired difference of each row in each column: mean, interval, p, Holm's p, and seeds."""
    parts = ("mean", "low", "high", "p", "p_holm", "seeds")
    rows: Table = [["strategy", *(f"{key_of(c)}_{part}" for c in columns for part in parts)]]
    for label, found in cells.items():
        line: list[Any] = [label]
        for cell in found:
            gap = cell.difference
            line += (
                [""] * len(parts)
                if gap is None
                else [gap.mean, gap.low, gap.high, gap.p, cell.p_holm, gap.pairs]
            )
        rows.append(line)
    return rows


def key_of(column: Column) -> str:
    """Name of a column in a file."""
    return column.key or column.title.replace("\u00a0", " ").replace(" ", "_")


def _moments(values: Sequence[float]) -> list[Any]:
    spread = statistics.stdev(values) if len(values) > 1 else ""
    return [statistics.mean(values) if values else "", spread, len(values)]
