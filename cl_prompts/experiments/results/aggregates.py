"""Aggregates over seeds: means, paired differences, and curves with bands."""

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to import

from cl_prompts.experiments.results.history import Floats
from cl_prompts.experiments.results.metrics import Metric
from cl_prompts.experiments.run_folder.runs import RunRecord

#: confidence of the intervals; tests have the level 1 - CONFIDENCE
CONFIDENCE = 0.95
#: seed, stream seed and any class order, see ``RunRecord.draw``
Draw = tuple[int | str, ...]
#: value by seed
Seeded = Mapping[Draw, float]
#: (samples or tasks, value 0..1) per point
Curve = Sequence[tuple[float, float]] | Floats


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, with Student's interval and test.

    The interval excludes 0 exactly where ``p`` is below 1 - ``CONFIDENCE``. Both assume normally
    distributed differences. Tests without that assumption cannot reject anything with few seeds:
    the smallest p of a signed-rank test is 0.25 with three seeds and 0.06 with five.

    Attributes:
        pairs: number of seeds that both rows have.
        mean: mean difference.
        low, high: ends of the confidence interval of the mean; NaN with one pair.
        p: p-value of the two-sided paired t-test; NaN with one pair.

    >>> found = paired_difference({1: 0.8, 2: 0.7, 3: 0.9}, {1: 0.6, 2: 0.4, 3: 0.8})
    >>> found.pairs, round(found.mean, 3), round(found.p, 3)
    (3, 0.2, 0.074)
    """

    pairs: int
    mean: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.p < 1 - CONFIDENCE


def paired_difference(ours: Seeded, theirs: Seeded) -> Difference | None:
    """Return the difference of two rows over their common seeds; None without common seeds."""
    gaps = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not gaps:
        return None
    mean = statistics.fmean(gaps)
    n = len(gaps)
    if n == 1:
        return Difference(1, mean)
    spread = statistics.stdev(gaps)
    if spread == 0:
        return Difference(n, mean, mean, mean, 0.0 if mean else 1.0)
    # mean ± t(0.975, n - 1) * s / sqrt(n), and the two-sided p of mean / (s / sqrt(n)).
    half = spread * least_effect(n)
    p = 2 * float(stdtr(n - 1, -abs(mean) / (spread / math.sqrt(n))))
    return Difference(n, mean, mean - half, mean + half, p)


def least_effect(n: int) -> float:
    """Return the smallest significant mean of n differences, in standard deviations.

    This is t(0.975, n - 1) / sqrt(n).

    >>> [round(least_effect(n), 1) for n in (2, 3, 5, 10)]
    [9.0, 2.5, 1.2, 0.7]
    """
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) / math.sqrt(n)


def holm(values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple tests (Holm, 1979); NaN stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(values, float)
    order = np.argsort(p)  # NaN comes last
    # The k-th smallest of m is multiplied by m - k + 1, and is at least the one before it.
    scaled = p[order] * (np.count_nonzero(~np.isnan(p)) - np.arange(len(p)))
    p[order] = np.maximum.accumulate(np.minimum(scaled, 1.0))
    return p.tolist()


@dataclass(frozen=True)
class Aggregate:
    """One metric of one row.

    Attributes:
        values: value by (seed, stream seed).
        text: mean and standard deviation, as tables print them.
        best: whether it is printed in bold: the best mean, if its difference from the next is
            significant, see :func:`lead`.
        difference: to the reference; None for the reference and without common seeds.
        p_holm: p of the difference after Holm's correction over the rows.
    """

    values: Seeded
    text: str
    best: bool
    difference: Difference | None
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether the paired test finds a difference, after Holm's correction."""
        return self.p_holm < 1 - CONFIDENCE


def aggregates_of(
    values: Mapping[str, Seeded], metric: Metric, reference: str, bounds: Collection[str] = ()
) -> dict[str, Aggregate]:
    """Aggregate a metric for each row.

    Args:
        values: values of each row, by seed.
        metric: the metric.
        reference: row that differences refer to.
        bounds: rows that are upper bounds: they have differences, but no bold.
    """
    ahead = lead(values, metric, bounds)
    best = ahead[0] if ahead and ahead[2].clear else None
    others = [{} if row == reference else ours for row, ours in values.items()]
    gaps = [paired_difference(ours, values[reference]) for ours in others]
    adjusted = holm([math.nan if gap is None else gap.p for gap in gaps])
    return {
        row: Aggregate(found, metric.text([*found.values()]), row == best, gap, p)
        for (row, found), gap, p in zip(values.items(), gaps, adjusted, strict=True)
    }


def lead(
    values: Mapping[str, Seeded], metric: Metric, bounds: Collection[str] = ()
) -> tuple[str, str, Difference] | None:
    """Return the row with the best mean, the next one, and the first minus the second.

    Means are over the seeds that all rows share. Rows with a single seed are left out if two rows
    have more. None for a metric without a direction, and without two rows that share a seed.

    Args:
        values: values of each row, by seed.
        metric: the metric.
        bounds: rows that are upper bounds, which are left out.
    """
    competing = {row: found for row, found in values.items() if found and row not in bounds}
    several = {row: found for row, found in competing.items() if len(found) > 1}
    tested = several if len(several) > 1 else competing
    seeds = set.intersection(*map(set, tested.values())) if len(tested) > 1 else set()
    if metric.best is None or not seeds:
        return None
    shared = {row: {seed: found[seed] for seed in seeds} for row, found in tested.items()}
    means = {row: statistics.fmean(found.values()) for row, found in shared.items()}
    first, second, *_ = sorted(means, key=means.__getitem__, reverse=metric.best is max)
    gap = paired_difference(shared[first], shared[second])
    return None if gap is None else (first, second, gap)


@dataclass(frozen=True)
class Band:
    """Mean curve over several seeds.

    Attributes:
        x: points, such as samples seen.
        middle: mean at each point, as a fraction.
        half: half the height of the band; None for one seed.
        seeds: number of seeds.
    """

    x: Floats
    middle: Floats
    half: Floats | None
    seeds: int


def curves_of(
    rows: Mapping[str, Sequence[RunRecord]], curve: Callable[[RunRecord], Curve]
) -> dict[str, dict[Draw, Curve]]:
    """Return the curve of each run by row and (seed, stream seed).

    Runs without a curve and runs on the whole stream at once are left out.
    """
    found: dict[str, dict[Draw, Curve]] = {}
    for label, runs in rows.items():
        for run in runs:
            points = curve(run)
            if points and not run.whole_stream:
                found.setdefault(label, {})[run.draw] = points
    return found


def _on_common_points(curves: Sequence[Curve]) -> tuple[Floats, Floats]:
    """Interpolate curves on the union of their points within their common range.

    Returns:
        (points,) places and (curves, points) values.
    """
    arrays = [np.asarray(curve, float) for curve in curves]
    x = np.unique(np.concatenate([a[:, 0] for a in arrays]))
    x = x[(x >= max(a[0, 0] for a in arrays)) & (x <= min(a[-1, 0] for a in arrays))]
    return x, np.array([np.interp(x, a[:, 0], a[:, 1]) for a in arrays])


def mean_band(curves: Sequence[Curve]) -> Band | None:
    """Average curves over seeds, with one sample standard deviation as band.

    None without curves, and where they have no common range.
    """
    x, values = _on_common_points(curves) if curves else (np.empty(0), np.empty(0))
    if not len(x):
        return None
    spread = values.std(0, ddof=1) if len(values) > 1 else None
    return Band(x, values.mean(0), spread, len(values))


def difference_band(ours: Mapping[Draw, Curve], theirs: Mapping[Draw, Curve]) -> Band | None:
    """Average the paired differences of curves, with Student's interval at each point as band.

    Each difference is on the common range of its curves. None where the rows share no seed or no
    points.
    """
    pairs = [_on_common_points([ours[seed], theirs[seed]]) for seed in ours if seed in theirs]
    band = mean_band([np.stack([x, mine - other], 1) for x, (mine, other) in pairs if len(x)])
    if band is None or band.half is None:
        return band
    # t(0.975, n - 1) * s / sqrt(n)
    return replace(band, half=least_effect(band.seeds) * band.half)
