"""Curves over samples and tasks: the numbers they were given, at any size, without warnings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection

from cl_prompts.experiments.figures.curves import curve_figure
from tests.experiments.figures.drawing import MATHEMATICS, band, drawn, texts


@pytest.mark.parametrize("tasks", [False, True])
def test_curves_show_mean_and_band(tasks: bool) -> None:
    lines = () if tasks else (100, 200)
    bands = {"mvp": band(0.3, 0.6, half=0.25)}
    figure = curve_figure(bands, levels={"joint": 0.9}, lines=lines, tasks=tasks)
    axes = figure.axes[0]
    mean = max(axes.lines, key=lambda line: line.get_linewidth())
    assert np.allclose(mean.get_xydata(), [[1, 30], [2, 60]])
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(85)
    assert texts(axes) == ["mvp", "joint, final"]
    assert axes.get_ylim() == (0, 100)  # the tens below the band, which begins at 5
    if tasks:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2"]
    drawn(figure)


@pytest.mark.parametrize(("n", "n_bands", "n_bars"), [(3, 3, 0), (4, 0, 4)])
def test_intervals_stand_for_bands_that_would_hide_each_other(
    n: int, n_bands: int, n_bars: int
) -> None:
    axes = curve_figure({str(i): band(0.4, 0.8, half=0.1) for i in range(n)}).axes[0]
    assert sum(isinstance(found, PolyCollection) for found in axes.collections) == n_bands
    assert len(axes.containers) == n_bars
    for bars in axes.containers:
        (ends,) = bars.lines[2]
        assert np.allclose(ends.get_segments()[0][:, 1], [30, 50])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=19))
def test_names_at_the_ends_of_curves_never_overlap(values: list[float]) -> None:
    figure = curve_figure({f"s{i}": band(value) for i, value in enumerate(values)})
    places = sorted(text.xy[1] for text in figure.axes[0].texts)
    assert len(places) == len(values)
    assert np.all(np.diff(places) > 0.049)
    assert min(places) > -0.001
    assert max(places) < 1.001


@pytest.mark.parametrize("n_points", [1, 2, 40])
@pytest.mark.parametrize("tasks", [False, True])
def test_any_number_of_points_and_names_that_look_like_mathematics(
    n_points: int, tasks: bool
) -> None:
    bands = {MATHEMATICS: band(*[0.5] * n_points), "b": band(*[0.4] * n_points, half=0.1)}
    figure = curve_figure(bands, tasks=tasks)
    assert len(figure.axes[0].get_xticks()) <= 20
    drawn(figure)
