"""Which cells of a metric are best, and how the others differ."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cl_prompts.experiments.results.aggregates import (
    Aggregate,
    aggregates_of,
    holm,
    mean_ranks,
    paired_difference,
)
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.results.metrics import METRICS, Metric
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run

AUC = METRICS[0]
(FORGETTING,) = (metric for metric in METRICS if metric.key == "forgetting")


def entries_of(
    folder: Path, values: dict[str, dict[int, float]], reference: str, metric: Metric = AUC
) -> dict[str, Aggregate]:
    """Entries of a metric for runs of these values by strategy and seed."""
    for strategy, by_seed in values.items():
        for seed, value in by_seed.items():
            results: dict[str, Any] = {"a_auc": value, "a_last": value, "forgetting": value}
            fake_run(folder, strategy, seed, results=results)
    (group,) = groups(collect([folder]))
    rows = {row: group.rows[row] for row in values}
    return aggregates_of(rows, metric, reference)


def test_the_best_is_bold_alone_where_it_is_ahead_at_every_seed(tmp_path: Path) -> None:
    values = {"mvp": {1: 0.8, 2: 0.7, 3: 0.9}, "linear_probe": {1: 0.7, 2: 0.61, 3: 0.79}}
    found = entries_of(tmp_path, values, "linear_probe")
    assert {row: cell.best for row, cell in found.items()} == {
        "mvp": True,
        "linear_probe": False,
    }
    assert found["mvp"].verdict == "significant"
    assert (found["mvp"].rank, found["linear_probe"].rank) == (1.0, 2.0)
    assert found["linear_probe"].difference is None
    assert found["linear_probe"].verdict == ""
    of_forgetting = entries_of(tmp_path / "least", values, "linear_probe", FORGETTING)
    ranked = {row: (cell.best, cell.rank) for row, cell in of_forgetting.items()}
    assert ranked == {"mvp": (False, 2.0), "linear_probe": (True, 1.0)}


def test_all_that_tie_with_the_best_are_bold(tmp_path: Path) -> None:
    values = {
        "mvp": {1: 0.8, 2: 0.7, 3: 0.9},
        "linear_probe": {1: 0.9, 2: 0.6, 3: 0.8},
        "fine_tuning": {1: 0.5, 2: 0.41, 3: 0.59},
    }
    found = entries_of(tmp_path, values, "fine_tuning")
    assert [cell.best for cell in found.values()] == [True, True, False]
    assert (
        entries_of(tmp_path / "again", values, "mvp")["linear_probe"].verdict == "not significant"
    )


def test_many_rows_weaken_a_small_p(tmp_path: Path) -> None:
    values = {
        "mvp": {1: 0.5, 2: 0.5, 3: 0.5},
        "linear_probe": {1: 0.53, 2: 0.56, 3: 0.55},
        "fine_tuning": {1: 0.4, 2: 0.6, 3: 0.5},
    }
    cell = entries_of(tmp_path, values, "mvp")["linear_probe"]
    assert cell.difference is not None
    assert cell.difference.significant
    assert cell.p_holm == pytest.approx(2 * cell.difference.p)
    assert cell.verdict == "not significant after Holm's correction"


def test_nothing_is_bold_with_one_seed_or_with_other_seeds(tmp_path: Path) -> None:
    one = entries_of(tmp_path / "one", {"mvp": {1: 0.8}, "linear_probe": {1: 0.1}}, "mvp")
    assert not any(cell.best for cell in one.values())
    assert one["linear_probe"].verdict == "one seed: no test"
    values = {"mvp": {1: 0.8, 2: 0.8}, "linear_probe": {1: 0.1, 3: 0.1}}
    other = entries_of(tmp_path / "other", values, "mvp")
    assert not any(cell.best for cell in other.values())


def test_what_saw_all_data_does_not_compete(tmp_path: Path) -> None:
    values = {
        "joint": {1: 0.99, 2: 0.99},
        "mvp": {1: 0.8, 2: 0.8},
        "linear_probe": {1: 0.1, 2: 0.1},
    }
    found = entries_of(tmp_path, values, "joint")
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
    assert found.significant is bool(test.pvalue < 0.05)


def test_seeds_that_one_row_lacks_do_not_count() -> None:
    found = paired_difference({1: 0.5, 2: 0.7, 9: 0.0}, {1: 0.4, 2: 0.5, 7: 1.0})
    assert found is not None
    assert (found.pairs, found.mean) == (2, pytest.approx(0.15))
    assert paired_difference({1: 0.5}, {2: 0.5}) is None


def test_equal_differences_leave_no_doubt() -> None:
    ahead = paired_difference({1: 0.75, 2: 0.5}, {1: 0.5, 2: 0.25})
    same = paired_difference({1: 0.75, 2: 0.5}, {1: 0.75, 2: 0.5})
    assert ahead is not None
    assert same is not None
    assert (ahead.low, ahead.high, ahead.p, ahead.significant) == (0.25, 0.25, 0.0, True)
    assert (same.p, same.significant) == (1.0, False)


def test_holm_counts_the_tests_that_were_made() -> None:
    assert holm([0.04, math.nan, 0.01])[::2] == pytest.approx([0.04, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert math.isnan(holm([math.nan])[0])


def test_ranks_are_taken_at_each_seed_that_all_rows_have() -> None:
    values = {"a": {1: 0.9, 2: 0.5, 3: 0.0}, "b": {1: 0.8, 2: 0.6}, "c": {1: 0.8, 2: 0.7}}
    assert mean_ranks(values) == {"a": 2.0, "b": 2.25, "c": 1.75}
    assert mean_ranks(values, highest_first=False) == {"a": 2.0, "b": 1.75, "c": 2.25}
    assert mean_ranks({"a": {1: 0.9}}) == mean_ranks({"a": {1: 0.9}, "b": {2: 0.9}}) == {}
