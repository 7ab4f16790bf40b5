"""Bold means, paired tests, and curves over seeds."""

import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cl_prompts.experiments.results.aggregates import (
    Aggregate,
    aggregates_of,
    difference_band,
    holm,
    mean_band,
    paired_difference,
)
from cl_prompts.experiments.results.metrics import METRICS, Metric

AUC = METRICS[False][0]
(FORGETTING,) = (metric for metric in METRICS[False] if metric.key == "forgetting")
MVP = (0.8, 0.7, 0.9)


def aggregates_for(
    metric: Metric, reference: str, **values: Sequence[float]
) -> dict[str, Aggregate]:
    """Aggregate values by row, for seeds 1, 2, ...; joint is an upper bound."""
    seeded = {row: {(i,): v for i, v in enumerate(found)} for row, found in values.items()}
    return aggregates_of(seeded, metric, reference, ["joint"])


@pytest.mark.parametrize(
    ("values", "bold"),
    [
        ({"mvp": MVP, "probe": (0.7, 0.61, 0.79)}, ["mvp"]),
        # The interval of the difference from the next contains 0.
        ({"mvp": MVP, "probe": (0.9, 0.6, 0.8), "tuned": (0.5, 0.41, 0.59)}, []),
        ({"mvp": MVP, "probe": MVP}, []),
        # Two common seeds are needed; a row with one seed does not compete.
        ({"mvp": (0.8,), "probe": (0.1,)}, []),
        ({"mvp": MVP, "probe": (0.7, 0.61), "tuned": (0.99,)}, ["mvp"]),
        # Nor does an upper bound.
        ({"joint": (0.99, 0.99), "mvp": (0.8, 0.8), "probe": (0.1, 0.1)}, ["mvp"]),
    ],
)
def test_bold_rows(values: dict[str, Sequence[float]], bold: list[str]) -> None:
    found = aggregates_for(AUC, "probe", **values)
    assert [row for row, cell in found.items() if cell.best] == bold


def test_differences_are_to_the_reference_and_the_least_may_be_best() -> None:
    found = aggregates_for(FORGETTING, "probe", mvp=MVP, probe=(0.7, 0.61, 0.79))
    assert [found[row].best for row in ("mvp", "probe")] == [False, True]
    assert found["mvp"].significant
    assert found["probe"].difference is None
    assert not found["probe"].significant


def test_significance_follows_holms_correction() -> None:
    cell = aggregates_for(
        AUC, "mvp", mvp=(0.5, 0.5, 0.5), probe=(0.53, 0.56, 0.55), tuned=(0.4, 0.6, 0.5)
    )["probe"]
    assert cell.difference.p < 0.05
    assert cell.p_holm == pytest.approx(2 * cell.difference.p)
    assert not cell.significant


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({1: 0.75, 2: 0.5, 9: 0.0}, {1: 0.5, 2: 0.25, 7: 1.0}, (2, 0.25, 0.25, 0.25, 0.0)),
        ({1: 0.75, 2: 0.5}, {1: 0.75, 2: 0.5}, (2, 0.0, 0.0, 0.0, 1.0)),
        ({1: 0.5}, {1: 0.25}, (1, 0.25, math.nan, math.nan, math.nan)),
        ({1: 0.5}, {2: 0.5}, None),
    ],
)
def test_differences_are_over_common_seeds(
    ours: Any, theirs: Any, expected: tuple[float, ...] | None
) -> None:
    found = paired_difference(ours, theirs)
    values = None if found is None else astuple(found)
    assert values == (expected and pytest.approx(expected, nan_ok=True))


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_interval_and_p_are_those_of_the_paired_t_test(n: int) -> None:
    rng = np.random.default_rng(n)
    ours = rng.normal(0.7, 0.1, n)
    theirs = rng.normal(0.65, 0.1, n)
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(theirs)))
    test = stats.ttest_rel(ours, theirs)
    interval = test.confidence_interval(0.95)
    assert (found.pairs, found.mean) == (n, pytest.approx((ours - theirs).mean()))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low <= 0 <= found.high) is bool(test.pvalue >= 0.05)


def test_holm_counts_defined_p_values_only() -> None:
    assert holm([0.04, math.nan, 0.01])[::2] == pytest.approx([0.04, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert math.isnan(holm([math.nan])[0])


def test_differences_are_taken_seed_by_seed() -> None:
    ours = {1: [(10, 0.5), (20, 0.6)], 2: [(10, 0.7), (20, 0.9)], 3: [(10, 0.0)]}
    theirs = {1: [(10, 0.4), (20, 0.5)], 2: [(10, 0.5), (20, 0.6)], 4: [(10, 1.0)]}
    band = difference_band(ours, theirs)
    assert band.seeds == 2
    np.testing.assert_allclose(band.middle, [0.15, 0.2])
    gaps = np.array([0.1, 0.2])
    low, high = stats.t.interval(0.95, 1, gaps.mean(), stats.sem(gaps))
    np.testing.assert_allclose(band.half[0], (high - low) / 2)


def test_curves_are_interpolated_within_their_common_range() -> None:
    ours = {1: [(0, 0.0), (10, 1.0)]}
    gap = difference_band(ours, {1: [(5, 0.5), (15, 0.5)]})
    assert (gap.x.tolist(), gap.middle.tolist()) == ([5.0, 10.0], [0.0, 0.5])
    assert gap.half is None
    assert difference_band(ours, {1: [(11, 0.5)]}) is difference_band(ours, {3: ours[1]}) is None


def test_means_are_over_all_seeds() -> None:
    band = mean_band([[(1, 0.25)], [(1, 0.75)]])
    assert (band.middle[0], band.seeds) == (0.5, 2)
    assert mean_band([[(1, 0.25)], [(2, 0.75)]]) is mean_band([]) is None
    apart = mean_band([[(0, 0.0), (100, 1.0)], [(50, 0.5), (150, 0.5)]])
    assert (apart.x.tolist(), apart.middle.tolist()) == ([50, 100], [0.5, 0.75])
    assert apart.half == pytest.approx(np.std([[0.5, 1.0], [0.5, 0.5]], axis=0, ddof=1))
