"""Curves over samples and tasks: the numbers they were given, at any size, without warnings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.experiments.figures.curves import curve_figure, task_curve_figure
from tests.experiments.figures.drawing import NAN, drawn, texts


def test_curves_show_mean_and_sample_standard_deviation() -> None:
    seeds = [[(100, 0.2), (200, 0.4)], [(100, 0.4), (200, 0.8)]]
    figure = curve_figure({"mvp": seeds}, [100, 200], references={"joint": 0.9})
    axes = figure.axes[0]
    mean = max(axes.lines, key=lambda line: line.get_linewidth())
    assert np.allclose(mean.get_xydata(), [[100, 30], [200, 60]])
    band = axes.collections[0].get_paths()[0].vertices
    assert np.isclose(band[:, 1].max(), 60 + 100 * np.std([0.4, 0.8], ddof=1))
    assert texts(axes) == ["mvp", "joint, final"]
    assert axes.get_ylim() == (10, 100)
    drawn(figure)


def test_curves_measured_at_different_points_are_averaged_where_all_are_known() -> None:
    figure = curve_figure({"a": [[(0, 0.0), (100, 1.0)], [(50, 0.5), (150, 0.5)]]})
    mean = max(figure.axes[0].lines, key=lambda line: line.get_linewidth())
    assert np.allclose(mean.get_xydata(), [[50, 50], [100, 75]])


def test_many_curves_are_drawn_as_means_alone() -> None:
    seeds = [[(100, 0.4), (200, 0.4)], [(100, 0.8), (200, 0.8)]]
    for n, spread in ((8, True), (9, False)):
        axes = curve_figure({str(i): seeds for i in range(n)}).axes[0]
        assert len(axes.collections) == (n if spread else 0)
        assert len(axes.lines) == (3 * n if spread else n)


def test_one_seed_and_seeds_without_common_points_are_drawn_without_a_band() -> None:
    one = curve_figure({"a": [[(10, 0.5)]]})
    assert not one.axes[0].collections
    drawn(one)
    apart = curve_figure({"a": [[(10, 0.5)], [(20, 0.7)]]})
    assert texts(apart.axes[0]) == ["a"]
    drawn(apart)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=19))
def test_names_at_the_ends_of_curves_never_overlap(values: list[float]) -> None:
    figure = curve_figure({f"s{i}": [[(10, v)]] for i, v in enumerate(values)})
    places = sorted(text.xy[1] for text in figure.axes[0].texts)
    assert len(places) == len(values)
    assert np.all(np.diff(places) > 0.049)
    assert min(places) > -0.001
    assert max(places) < 1.001


def test_map_is_drawn_over_tasks_with_mean_and_band() -> None:
    figure = task_curve_figure({"lane": [[0.9, 0.5], [0.7, 0.7]]}, references={"joint": 0.95})
    axes = figure.axes[0]
    mean = max(axes.lines, key=lambda line: line.get_linewidth())
    assert np.allclose(mean.get_xydata(), [[1, 80], [2, 60]])
    band = axes.collections[0].get_paths()[0].vertices
    assert np.isclose(band[:, 1].max(), 80 + 100 * np.std([0.9, 0.7], ddof=1))
    assert texts(axes) == ["lane", "joint, final"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2"]
    drawn(figure)


def test_a_task_without_map_is_left_out_and_so_is_a_strategy_without_any() -> None:
    figure = task_curve_figure({"a": [[NAN, 0.5, 0.6]], "b": [[NAN, NAN, NAN]]})
    axes = figure.axes[0]
    assert texts(axes) == ["a"]
    assert np.allclose(axes.lines[0].get_xydata(), [[2, 50], [3, 60]])
    drawn(figure)


@pytest.mark.parametrize("n_tasks", [1, 2, 40])
def test_map_over_any_number_of_tasks(n_tasks: int) -> None:
    figure = task_curve_figure({"a": [[0.5] * n_tasks], "b": [[0.4] * n_tasks] * 3})
    assert len(figure.axes[0].get_xticks()) <= 20
    drawn(figure)


def test_names_are_not_read_as_mathematics() -> None:
    name = r"$\frac{$"
    drawn(curve_figure({name: [[(1, 0.5)]]}))
    drawn(task_curve_figure({name: [[0.5]]}))


def test_the_axis_says_what_is_measured() -> None:
    curve = curve_figure({"a": [[(10, 0.5)]]}, measure="mAP")
    assert curve.axes[0].get_ylabel() == "anytime mAP over seen classes (%)"
