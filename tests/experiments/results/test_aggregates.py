"""Bold means, paired tests, ranks, and curves over seeds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cl_prompts.experiments.results.aggregates import (
    Aggregate,
    difference_band,
    holm,
    mean_band,
    mean_ranks,
    paired_difference,
)
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.results.metrics import METRICS, Metric
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run

AUC = METRICS[False][0]
(FORGETTING,) = (metric for metric in METRICS[False] if metric.key == "forgetting")


def aggregates_for(
    folder: Path, values: dict[str, dict[int, float]], reference: str, metric: Metric = AUC
) -> dict[str, Aggregate]:
    """Aggregate runs with these values by strategy and seed."""
    for strategy, by_seed in values.items():
        for seed, value in by_seed.items():
            results: dict[str, Any] = {"a_auc": value, "a_last": value, "forgetting": value}
            fake_run(folder, strategy, seed, results=results)
    (group,) = groups(collect([folder]))
    return {
        row: cell for row, (cell,) in group.choose(reference, [*values]).table([metric]).items()
    }


def test_a_significantly_best_row_is_bold_alone(tmp_path: Path) -> None:
    values = {"mvp": {1: 0.8, 2: 0.7, 3: 0.9}, "linear_probe": {1: 0.7, 2: 0.61, 3: 0.79}}
    found = aggregates_for(tmp_path, values, "linear_probe")
    assert {row: cell.best for row, cell in found.items()} == {
        "mvp": True,
        "linear_probe": False,
    }
    assert found["mvp"].verdict == "significant"
    assert (found["mvp"].rank, found["linear_probe"].rank) == (1.0, 2.0)
    assert found["linear_probe"].difference is None
    assert found["linear_probe"].verdict == ""
    of_forgetting = aggregates_for(tmp_path / "least", values, "linear_probe", FORGETTING)
    ranked = {row: (cell.best, cell.rank) for row, cell in of_forgetting.items()}
    assert ranked == {"mvp": (False, 2.0), "linear_probe": (True, 1.0)}


def test_ties_with_the_best_are_bold_but_never_the_worst(tmp_path: Path) -> None:
    values = {
        "mvp": {1: 0.8, 2: 0.7, 3: 0.9},
        "linear_probe": {1: 0.9, 2: 0.6, 3: 0.8},
        "fine_tuning": {1: 0.5, 2: 0.41, 3: 0.59},
    }
    found = aggregates_for(tmp_path, values, "fine_tuning")
    assert [cell.best for cell in found.values()] == [True, True, False]
    del values["fine_tuning"]
    found = aggregates_for(tmp_path / "two", values, "mvp")
    assert [cell.best for cell in found.values()] == [True, False]
    assert (
        aggregates_for(tmp_path / "again", values, "mvp")["linear_probe"].verdict
        == "not significant"
    )


def test_verdicts_follow_holms_correction(tmp_path: Path) -> None:
    values = {
        "mvp": {1: 0.5, 2: 0.5, 3: 0.5},
        "linear_probe": {1: 0.53, 2: 0.56, 3: 0.55},
        "fine_tuning": {1: 0.4, 2: 0.6, 3: 0.5},
    }
    cell = aggregates_for(tmp_path, values, "mvp")["linear_probe"]
    assert cell.difference is not None
    assert cell.difference.p < 0.05
    assert cell.p_holm == pytest.approx(2 * cell.difference.p)
    assert cell.verdict == "not significant"


def test_bold_needs_two_common_seeds(tmp_path: Path) -> None:
    one = aggregates_for(tmp_path / "one", {"mvp": {1: 0.8}, "linear_probe": {1: 0.1}}, "mvp")
    assert not any(cell.best for cell in one.values())
    assert one["linear_probe"].verdict == "one seed: no test"
    values = {"mvp": {1: 0.8, 2: 0.8}, "linear_probe": {1: 0.1, 3: 0.1}}
    other = aggregates_for(tmp_path / "other", values, "mvp")
    assert not any(cell.best for cell in other.values())


def test_a_row_with_one_seed_does_not_take_bold_from_the_others(tmp_path: Path) -> None:
    values = {
        "mvp": {1: 0.8, 2: 0.7, 3: 0.9},
        "linear_probe": {1: 0.7, 2: 0.61},
        "fine_tuning": {1: 0.99},
    }
    found = aggregates_for(tmp_path, values, "mvp")
    assert [cell.best for cell in found.values()] == [True, False, False]


def test_upper_bounds_have_no_rank_and_no_bold(tmp_path: Path) -> None:
    values = {
        "joint": {1: 0.99, 2: 0.99},
        "mvp": {1: 0.8, 2: 0.8},
        "linear_probe": {1: 0.1, 2: 0.1},
    }
    found = aggregates_for(tmp_path, values, "joint")
    assert [cell.best for cell in found.values()] == [False, True, False]
    assert found["joint"].rank is None
    assert found["mvp"].difference is not None


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_interval_and_p_are_those_of_the_paired_t_test(n: int) -> None:
    rng = np.random.default_rng(n)
    ours = rng.normal(0.7, 0.1, n)
    theirs = rng.normal(0.65, 0.1, n)
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(theirs)))
    test = stats.ttest_rel(ours, theirs)
    interval = test.confidence_interval(0.95)
    assert found is not None
    assert (found.pairs, found.mean) == (n, pytest.approx((ours - theirs).mean()))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low <= 0 <= found.high) is bool(test.pvalue >= 0.05)


def test_differences_use_common_seeds_only() -> None:
    found = paired_difference({1: 0.5, 2: 0.7, 9: 0.0}, {1: 0.4, 2: 0.5, 7: 1.0})
    assert found is not None
    assert (found.pairs, found.mean) == (2, pytest.approx(0.15))
    assert paired_difference({1: 0.5}, {2: 0.5}) is None


def test_equal_differences_have_a_p_of_zero_or_one() -> None:
    ahead = paired_difference({1: 0.75, 2: 0.5}, {1: 0.5, 2: 0.25})
    same = paired_difference({1: 0.75, 2: 0.5}, {1: 0.75, 2: 0.5})
    assert ahead is not None
    assert same is not None
    assert (ahead.low, ahead.high, ahead.p) == (0.25, 0.25, 0.0)
    assert same.p == 1.0


def test_holm_counts_defined_p_values_only() -> None:
    assert holm([0.04, math.nan, 0.01])[::2] == pytest.approx([0.04, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert math.isnan(holm([math.nan])[0])


def test_ranks_use_seeds_that_all_rows_have() -> None:
    values = {"a": {1: 0.9, 2: 0.5, 3: 0.0}, "b": {1: 0.8, 2: 0.6}, "c": {1: 0.8, 2: 0.7}}
    assert mean_ranks(values) == {"a": 2.0, "b": 2.25, "c": 1.75}
    assert mean_ranks(values, highest_first=False) == {"a": 2.0, "b": 1.75, "c": 2.25}
    assert mean_ranks({"a": {1: 0.9}}) == mean_ranks({"a": {1: 0.9}, "b": {2: 0.9}}) == {}


def test_differences_are_taken_seed_by_seed() -> None:
    ours = {1: [(10, 0.5), (20, 0.6)], 2: [(10, 0.7), (20, 0.9)], 3: [(10, 0.0)]}
    theirs = {1: [(10, 0.4), (20, 0.5)], 2: [(10, 0.5), (20, 0.6)], 4: [(10, 1.0)]}
    band = difference_band(ours, theirs)
    assert band is not None
    assert band.seeds == 2
    np.testing.assert_allclose(band.middle, [0.15, 0.2])
    gaps = np.array([0.1, 0.2])
    low, high = stats.t.interval(0.95, 1, gaps.mean(), stats.sem(gaps))
    assert band.half is not None
    np.testing.assert_allclose(band.half[0], (high - low) / 2)


def test_curves_are_interpolated_within_their_common_range() -> None:
    ours = {1: [(0, 0.0), (10, 1.0)]}
    gap = difference_band(ours, {1: [(5, 0.5), (15, 0.5)]})
    assert gap is not None
    assert (gap.x.tolist(), gap.middle.tolist()) == ([5.0, 10.0], [0.0, 0.5])
    assert gap.half is None
    assert difference_band(ours, {1: [(11, 0.5)]}) is difference_band(ours, {3: ours[1]}) is None


def test_means_are_over_all_seeds() -> None:
    band = mean_band({1: [(1, 0.25)], 2: [(1, 0.75)]})
    assert band is not None
    assert (band.middle[0], band.seeds) == (0.5, 2)
    assert mean_band({1: [(1, 0.25)], 2: [(2, 0.75)]}) is None
    apart = mean_band({1: [(0, 0.0), (100, 1.0)], 2: [(50, 0.5), (150, 0.5)]})
    assert apart is not None
    assert (apart.x.tolist(), apart.middle.tolist()) == ([50, 100], [0.5, 0.75])
    assert apart.half == pytest.approx(np.std([[0.5, 1.0], [0.5, 0.5]], axis=0, ddof=1))
