"""Tables of the report as CSV inside the page: every number as a fraction, unrounded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cl_prompts.experiments.results.columns import Column
from cl_prompts.experiments.results.entries import Entry
from cl_prompts.experiments.run_folder.files import csv_text

Table = list[list[Any]]


def csv_uri(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as the address of a CSV file that is part of the page.

    >>> csv_uri([["strategy", "a_auc"], ["mvp", 0.5]])
    'data:text/csv;charset=utf-8,strategy%2Ca_auc%0Amvp%2C0.5%0A'
    """
    text = f"{csv_text(rows)}\n"
    return "data:text/csv;charset=utf-8," + quote(text, safe=" ").replace(" ", "%20")


def results_rows(
    columns: Sequence[Column], table: Mapping[str, Sequence[Entry]], seeds: Mapping[str, int]
) -> Table:
    """Mean, sample standard deviation and number of values of each row in each column.

    Args:
        columns: of the table.
        table: entries of each row.
        seeds: number of runs of each row.
    """
    rows: Table = [["strategy", "seeds", *_names(columns, ("mean", "sd", "n"))]]
    for label, entries in table.items():
        numbers = [(entry.mean, entry.spread, len(entry.values)) for entry in entries]
        rows.append([label, seeds[label], *itertools.chain.from_iterable(numbers)])
    return rows


def difference_rows(columns: Sequence[Column], table: Mapping[str, Sequence[Entry]]) -> Table:
    """Paired difference of each row in each column: mean, interval, p, Holm's p, and seeds."""
    parts = ("mean", "low", "high", "p", "p_holm", "seeds")
    rows: Table = [["strategy", *_names(columns, parts)]]
    for label, entries in table.items():
        line: list[Any] = [label]
        for entry in entries:
            gap = entry.difference
            if gap is None:
                line += [""] * len(parts)
            else:
                line += [gap.mean, gap.low, gap.high, gap.p, entry.p_holm, gap.pairs]
        rows.append(line)
    return rows


def _names(columns: Sequence[Column], parts: Sequence[str]) -> list[str]:
    return [f"{column.file_key}_{part}" for column in columns for part in parts]
