"""Paired differences, corrections for many tests, and ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cl_prompts.experiments.results.paired import holm, mean_ranks, paired_difference


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


def test_one_pair_has_a_difference_and_no_interval() -> None:
    found = paired_difference({1: 0.75}, {1: 0.5})
    assert found is not None
    assert found.mean == 0.25
    assert math.isnan(found.p)
    assert not found.known
    assert not found.significant


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
