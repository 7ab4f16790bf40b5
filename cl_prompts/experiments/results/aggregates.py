"""Aggregates over seeds: mean, rank, paired difference to a reference, and which are best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cl_prompts.experiments.results.metrics import Metric
from cl_prompts.experiments.run_folder.runs import RunRecord

#: confidence of the intervals, and 1 minus the level of the tests
CONFIDENCE = 0.95
#: seeds from which on nothing is said of the power of tests
_SEEDS_ENOUGH = 5
#: value by seed
Seeded = Mapping[Any, float]


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, with Student's interval and test.

    The interval excludes 0 exactly where ``p`` is below 1 - ``CONFIDENCE``. Both take the
    differences for normally distributed; with a handful of seeds nothing weaker can tell anything
    (the least p of a signed-rank test is 0.25 with three seeds and 0.06 with five).

    Attributes:
        pairs: seeds that both have.
        mean: of the differences.
        low, high: ends of the confidence interval of the mean; NaN with one pair.
        p: of the two-sided paired t-test; NaN with one pair.

    >>> found = paired_difference({1: 0.8, 2: 0.7, 3: 0.9}, {1: 0.6, 2: 0.4, 3: 0.8})
    >>> found.pairs, round(found.mean, 3), found.significant
    (3, 0.2, False)
    """

    pairs: int
    mean: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there are pairs enough for an interval."""
        return self.pairs > 1

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.known and not self.low <= 0 <= self.high


def paired_difference(ours: Seeded, theirs: Seeded) -> Difference | None:
    """Difference of two rows over the seeds that both have; None where they share none."""
    gaps = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not gaps:
        return None
    mean = statistics.fmean(gaps)
    n = len(gaps)
    if n == 1:
        return Difference(1, mean)
    spread = statistics.stdev(gaps)
    if spread == 0:  # the same difference at every seed
        return Difference(n, mean, mean, mean, 0.0 if mean else 1.0)
    # mean ± t(0.975, n - 1) * s / sqrt(n), and the two-sided p of mean / (s / sqrt(n)).
    from scipy.special import stdtr  # scipy.stats takes a second to import

    half = spread * least_effect(n)
    p = 2 * float(stdtr(n - 1, -abs(mean) / (spread / math.sqrt(n))))
    return Difference(n, mean, mean - half, mean + half, p)


def least_effect(n: int) -> float:
    """Least mean of n differences that is significant, in their sample standard deviations:
    t(0.975, n - 1) / sqrt(n).

    >>> [round(least_effect(n), 1) for n in (2, 3, 5, 10)]
    [9.0, 2.5, 1.2, 0.7]
    """
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) / math.sqrt(n)


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm, 1979); NaN stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    known = sorted((p, place) for place, p in enumerate(values) if not math.isnan(p))
    adjusted = [math.nan] * len(values)
    least = 0.0
    # The k-th smallest of m is multiplied by m - k + 1, and is at least the one before it.
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p))
        adjusted[place] = least
    return adjusted


def mean_ranks(values: Mapping[str, Seeded], *, highest_first: bool = True) -> dict[str, float]:
    """Rank of each row among all, 1 for the best, mean over the seeds that all of them have; equal
    values share their ranks. Empty where there is no such seed, or only one row.

    >>> mean_ranks({"a": {1: 0.9, 2: 0.5}, "b": {1: 0.8, 2: 0.5}})
    {'a': 1.25, 'b': 1.75}
    """
    shared = set.intersection(*(set(row) for row in values.values())) if values else set()
    if len(values) < 2 or not shared:
        return {}
    totals = dict.fromkeys(values, 0.0)
    for seed in shared:
        scores = [row[seed] for row in values.values()]
        for name, row in values.items():
            ahead = sum(s > row[seed] if highest_first else s < row[seed] for s in scores)
            # Equal scores, its own among them, share the mean of their ranks.
            totals[name] += ahead + (scores.count(row[seed]) + 1) / 2
    return {row: total / len(shared) for row, total in totals.items()}


@dataclass(frozen=True)
class Aggregate:
    """One row in one metric.

    Attributes:
        values: by (seed, stream seed).
        text: mean and standard deviation, as tables write them.
        best: whether it is the best mean, or not significantly different from that.
        rank: mean rank over seeds, 1 for the best; None where it does not compete.
        difference: to the reference row; None for that row and where no seed is shared.
        p_holm: p of the difference, adjusted for the number of rows compared in the metric.
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


def aggregates_of(
    rows: Mapping[str, Sequence[RunRecord]], metric: Metric, reference: str = ""
) -> dict[str, Aggregate]:
    """The aggregate of each row.

    A row that saw all data at once is a bound: it is compared, but competes with nothing.

    Args:
        rows: runs of each row, by its label.
        metric: what is compared.
        reference: row that differences refer to; empty for none.
    """
    values = {row: seeded_values(runs, metric) for row, runs in rows.items()}
    # A bound that saw all data at once takes no rank and no bold mean.
    competing = {
        row: found for row, found in values.items() if found and not rows[row][0].whole_stream
    }
    best = best_rows(metric, competing)
    ranks = mean_ranks(competing, highest_first=metric.best is max) if metric.best else {}
    theirs = values.get(reference, {})
    gaps = {
        row: paired_difference(found, theirs) if row != reference else None
        for row, found in values.items()
    }
    # The differences of one metric are one family of tests.
    adjusted = holm([math.nan if gap is None else gap.p for gap in gaps.values()])
    aggregates = {}
    for (row, found), p in zip(values.items(), adjusted, strict=True):
        text = metric.text(list(found.values()))
        aggregates[row] = Aggregate(found, text, row in best, ranks.get(row), gaps[row], p)
    return aggregates


def power(aggregates: Iterable[Aggregate]) -> str:
    """A sentence on the least difference that tests of few seeds can show; empty for enough."""
    pairs = [aggregate.difference.pairs for aggregate in aggregates if aggregate.difference]
    fewest = min((n for n in pairs if n > 1), default=_SEEDS_ENOUGH)
    if fewest >= _SEEDS_ENOUGH:
        return ""
    return (
        f"With {fewest} seeds a difference is significant only if its mean is more than"
        f" {least_effect(fewest):.1f} times its standard deviation over seeds"
        f" ({least_effect(_SEEDS_ENOUGH):.1f} times with {_SEEDS_ENOUGH} seeds, and more after"
        ' Holm\'s correction): "not significant" does not say that methods are equal.'
    )


def seeded_values(runs: Iterable[RunRecord], metric: Metric) -> dict[tuple[int, int], float]:
    """Values of a metric where they are defined, by (seed, stream seed)."""
    found = ((run.summary, metric.value(run.summary)) for run in runs)
    return {(s["seed"], s["stream_seed"]): value for s, value in found if value is not None}


def best_rows(metric: Metric, values: Mapping[str, Seeded]) -> set[str]:
    """The row with the best mean, and all whose paired difference from it is not significant.

    None where fewer than two rows compete, where their seeds differ, or with a single seed.
    """
    seeds = {frozenset(found) for found in values.values()}
    # Means over different seeds, or over one alone, name no best row.
    if metric.best is None or len(values) < 2 or len(seeds) != 1 or len(next(iter(seeds))) < 2:
        return set()
    means = {row: statistics.mean(found.values()) for row, found in values.items()}
    top = metric.best(means.values())
    best = next(row for row, mean in means.items() if mean == top)
    gaps = {row: paired_difference(values[best], found) for row, found in values.items()}
    # Not told apart from the best by a paired test: bold as well.
    return {best, *(row for row, gap in gaps.items() if gap and not gap.significant)}
