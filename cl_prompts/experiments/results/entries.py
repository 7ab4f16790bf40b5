"""Table entries: mean, rank, paired difference to a reference, and which are best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cl_prompts.experiments.results.columns import Column
from cl_prompts.experiments.results.paired import (
    CONFIDENCE,
    Difference,
    Seeded,
    holm,
    least_effect,
    mean_ranks,
    paired_difference,
)
from cl_prompts.experiments.run_folder.runs import Run

#: seeds from which on nothing is said of the power of tests
_SEEDS_ENOUGH = 5


@dataclass(frozen=True)
class Entry:
    """One row in one column.

    Attributes:
        values: by (seed, stream seed).
        text: mean and standard deviation, as tables write them.
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
    def mean(self) -> float | None:
        """Mean over seeds; None without any value."""
        return statistics.mean(self.values.values()) if self.values else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation (n-1) over seeds; None for fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

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


def column_entries(
    groups: Mapping[str, Sequence[Run]], column: Column, reference: str = ""
) -> dict[str, Entry]:
    """The entry of each row.

    A row that saw all data at once is a bound: it is compared, but competes with nothing.

    Args:
        groups: runs of each row, by its label.
        column: what is compared.
        reference: row that differences refer to; empty for none.
    """
    values = {row: seeded_values(runs, column) for row, runs in groups.items()}
    # A bound that saw all data at once takes no rank and no bold mean.
    competing = {
        row: found for row, found in values.items() if found and not groups[row][0].whole_stream
    }
    best = best_rows(column, competing)
    ranks = mean_ranks(competing, highest_first=column.best is max)
    theirs = values.get(reference, {})
    gaps = {
        row: paired_difference(found, theirs) if row != reference else None
        for row, found in values.items()
    }
    # The differences of one column are one family of tests.
    adjusted = holm([math.nan if gap is None else gap.p for gap in gaps.values()])
    entries = {}
    for (row, found), p in zip(values.items(), adjusted, strict=True):
        text = column.text(list(found.values()))
        entries[row] = Entry(found, text, row in best, ranks.get(row), gaps[row], p)
    return entries


def power(entries: Iterable[Entry]) -> str:
    """A sentence on the least difference that tests of few seeds can show; empty for enough."""
    pairs = [entry.difference.pairs for entry in entries if entry.difference]
    fewest = min((n for n in pairs if n > 1), default=_SEEDS_ENOUGH)
    if fewest >= _SEEDS_ENOUGH:
        return ""
    return (
        f"With {fewest} seeds a difference is significant only if its mean is more than"
        f" {least_effect(fewest):.1f} times its standard deviation over seeds"
        f" ({least_effect(_SEEDS_ENOUGH):.1f} times with {_SEEDS_ENOUGH} seeds, and more after"
        ' Holm\'s correction): "not significant" does not say that methods are equal.'
    )


def seeded_values(runs: Iterable[Run], column: Column) -> dict[tuple[int, int], float]:
    """Values of a column where they are defined, by (seed, stream seed)."""
    found = {}
    for run in runs:
        value = column.value(run.summary)
        if value is not None:
            found[run.summary["seed"], run.summary["stream_seed"]] = value
    return found


def best_rows(column: Column, values: Mapping[str, Seeded]) -> set[str]:
    """The row with the best mean, and all whose paired difference from it is not significant.

    None where fewer than two rows compete, where their seeds differ, or with a single seed.
    """
    seeds = {frozenset(found) for found in values.values()}
    # Means over different seeds, or over one alone, name no best row.
    if column.best is None or len(values) < 2 or len(seeds) != 1 or len(next(iter(seeds))) < 2:
        return set()
    means = {row: statistics.mean(found.values()) for row, found in values.items()}
    top = column.best(means.values())
    best = next(row for row, mean in means.items() if mean == top)
    ties = {best}
    for row, found in values.items():
        gap = paired_difference(values[best], found)
        # Not told apart from the best by a paired test: bold as well.
        if gap is not None and not gap.significant:
            ties.add(row)
    return ties
