"""Curves over samples and tasks: the numbers they were given, at any size, without warnings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection

from cl_prompts.experiments.figures import cost_figure, svg_text
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


@pytest.mark.slow
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


def test_dots_stand_at_cost_and_mean() -> None:
    points = {"ncm": (0.87, [0.9, 0.92]), "mvp": (4.9, [0.6]), "l2p": (9.6, [0.5, 0.6])}
    (axes,) = cost_figure(points).axes
    dots = {
        (round(float(line.get_xdata()[0]), 2), round(float(line.get_ydata()[0]), 2))
        for line in axes.lines
        if line.get_marker() == "o"
    }
    assert dots == {(0.87, 91.0), (4.9, 60.0), (9.6, 55.0)}
    assert axes.get_xscale() == "log"
    assert {text.get_text() for text in axes.texts} == set(points)


@pytest.mark.slow
def test_names_do_not_overlap() -> None:
    points = {f"method_{i}": (2.6 + 0.01 * i, [0.7 + 0.001 * i]) for i in range(20)}
    figure = cost_figure(points)
    svg_text(figure)  # lays it out
    (axes,) = figure.axes
    boxes = [text.get_window_extent().padded(-2) for text in axes.texts]
    assert len(boxes) == 20
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
