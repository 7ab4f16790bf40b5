"""Statistics of differences that are paired over seeds, and of ranks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: confidence of the intervals, and 1 minus the level of the tests
CONFIDENCE = 0.95
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
    low: float
    high: float
    p: float

    @property
    def known(self) -> bool:
        """Whether there are pairs enough for an interval."""
        return self.pairs > 1

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.known and not self.low <= 0 <= self.high


def paired_difference(ours: Seeded, theirs: Seeded) -> Difference | None:
    """Difference of two rows over the seeds that both have; None where they share none.

    Args:
        ours, theirs: value by seed.
    """
    gaps = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not gaps:
        return None
    mean = statistics.fmean(gaps)
    n = len(gaps)
    if n == 1:
        return Difference(1, mean, math.nan, math.nan, math.nan)
    error = statistics.stdev(gaps) / math.sqrt(n)
    if error == 0:  # the same difference at every seed
        return Difference(n, mean, mean, mean, 0.0 if mean else 1.0)
    # mean ± t(0.975, n - 1) * s / sqrt(n), and the two-sided p of mean / (s / sqrt(n)).
    from scipy import stats  # here, as below: it takes a second, and one seed has no use for it

    half = statistics.stdev(gaps) * least_effect(n)
    p = 2 * float(stats.t.sf(abs(mean) / error, n - 1))
    return Difference(n, mean, mean - half, mean + half, p)


def least_effect(n: int) -> float:
    """Least mean of n differences that is significant, in their sample standard deviations:
    t(0.975, n - 1) / sqrt(n).

    >>> [round(least_effect(n), 1) for n in (2, 3, 5, 10)]
    [9.0, 2.5, 1.2, 0.7]
    """
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) / math.sqrt(n)


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
    from scipy import stats

    sign = -1 if highest_first else 1
    totals = [0.0] * len(values)
    for seed in shared:
        # Rank 1 is the smallest, so that scores to maximise change their sign; ties share a mean.
        ranks = stats.rankdata([sign * row[seed] for row in values.values()])
        totals = [total + float(rank) for total, rank in zip(totals, ranks, strict=True)]
    return {row: total / len(shared) for row, total in zip(values, totals, strict=True)}
