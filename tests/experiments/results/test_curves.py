"""Curves by seed, and their differences at the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cl_prompts.experiments.results.curves import (
    difference_band,
    difference_curve,
    mean_band,
)


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


def test_one_shared_seed_has_no_band_and_none_has_no_curve() -> None:
    ours = {1: [(10, 0.5)], 2: [(10, 0.7)]}
    one = difference_band(ours, {2: [(10, 0.5)]})
    assert one is not None
    assert one.half is None
    assert difference_band(ours, {3: [(10, 0.5)]}) is None
    assert difference_band(ours, {1: [(90, 0.5)]}) is None


def test_points_that_differ_are_interpolated_within_the_common_range() -> None:
    ours = [(0, 0.0), (10, 1.0)]
    assert difference_curve(ours, [(5, 0.5), (15, 0.5)]) == [(5.0, 0.0), (10.0, 0.5)]
    assert difference_curve(ours, [(11, 0.5)]) == []


def test_means_are_over_all_seeds() -> None:
    band = mean_band({1: [(1, 0.25)], 2: [(1, 0.75)]})
    assert band is not None
    assert (band.middle[0], band.seeds) == (0.5, 2)
    assert mean_band({1: [(1, 0.25)], 2: [(2, 0.75)]}) is None
    apart = mean_band({1: [(0, 0.0), (100, 1.0)], 2: [(50, 0.5), (150, 0.5)]})
    assert apart is not None
    assert (apart.x.tolist(), apart.middle.tolist()) == ([50, 100], [0.5, 0.75])
    assert apart.half == pytest.approx(np.std([[0.5, 1.0], [0.5, 0.5]], axis=0, ddof=1))
