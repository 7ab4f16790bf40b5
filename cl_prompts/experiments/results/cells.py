"""Cells of a comparison: mean, rank, paired difference to a reference, and which are best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cl_prompts.experiments.results.columns import Column
from cl_prompts.experiments.results.paired import (
    CONFIDENCE,
    Difference,
    Seeded,
    holm,
    mean_ranks,
    paired_difference,
)
from cl_prompts.experiments.results.sections import Section, best_rows, seeded_values


@dataclass(frozen=True)
class Cell:
    """What is known of one row in one column.

    Attributes:
        values: by (seed, stream seed).
        text: mean and standard deviation, as the report writes them.
        best: whether it is the best mean, or not significantly different from that.
        rank: mean rank over seeds, 1 for the best; None where it does not compete.
        difference: to the reference row; None for that row and where no seed is shared.
        p_holm: p of the difference, adjusted for the number of rows compared in the column.
    """

    values: Seeded
    text: str
    best: bool = False
    rank: float | None = None
    difference: Difference | None = None
    p_holm: float = math.nan

    @property
    def verdict(self) -> str:
        """Whether the difference is significant, in words; empty without one."""
        if self.difference is None:
            return ""
        if not self.difference.known:
            return "one seed: no test"
        if not self.difference.significant:
            return "not significant"
        adjusted = self.p_holm < 1 - CONFIDENCE
        return "significant" if adjusted else "not significant after Holm's correction"


def column_cells(
    section: Section, column: Column, rows: Sequence[str], reference: str
) -> dict[str, Cell]:
    """The cell of each row.

    Args:
        section: the runs.
        column: what is compared.
        rows: labels of the section, in their order.
        reference: row that differences refer to.
    """
    values = {row: seeded_values(section.groups[row], column) for row in rows}
    competing = {
        row: found for row, found in values.items() if found and not is_bound(section, row)
    }
    best = best_rows(column, competing)
    ranks = mean_ranks(competing, highest_first=column.best is max)
    theirs = values.get(reference, {})
    gaps = {
        row: paired_difference(values[row], theirs) if row != reference else None for row in rows
    }
    adjusted = holm([math.nan if gap is None else gap.p for gap in gaps.values()])
    return {
        row: Cell(
            values[row],
            column.text(list(values[row].values())),
            row in best,
            ranks.get(row),
            gaps[row],
            p,
        )
        for row, p in zip(rows, adjusted, strict=True)
    }


def is_bound(section: Section, row: str) -> bool:
    """Whether a row saw all data at once: it is a bound, and competes with nothing."""
    return section.groups[row][0].whole_stream
