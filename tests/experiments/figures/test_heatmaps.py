"""Heat maps: the numbers they were given, at any size, without warnings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cl_prompts.experiments.figures.heatmaps import (
    class_forgetting_figure,
    class_heatmap_figure,
    forgetting_per_task,
    task_heatmap_figure,
)
from tests.experiments.figures.drawing import MATHEMATICS, NAN, drawn, texts


def test_class_heat_map_sorts_by_first_seen() -> None:
    matrix = [[np.nan, 0.5], [0.25, 0.75], [np.nan, np.nan]]
    figure = class_heatmap_figure([100, 200], matrix, ["late", "early", "never"], [100])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["early", "late", "never"]
    shown = np.ma.filled(axes.collections[0].get_array().astype(float), np.nan)
    assert np.array_equal(shown, [[25, 75], [np.nan, 50], [np.nan, np.nan]], equal_nan=True)
    drawn(figure)


@pytest.mark.parametrize(("points", "classes"), [(1, 1), (1, 10), (50, 200)])
def test_class_heat_map_of_any_size(points: int, classes: int) -> None:
    values = np.full((classes, points), 0.5)
    drawn(class_heatmap_figure(np.arange(1, points + 1), values, [MATHEMATICS] * classes))


@given(
    arrays(float, st.integers(1, 6).map(lambda n: (n, n)), elements=st.floats(0, 1)), st.randoms()
)
def test_forgetting_is_the_literal_formula(values: np.ndarray, random: Any) -> None:
    n = len(values)
    empty = [i for i in range(n) if random.random() < 0.2]
    for i in range(n):
        values[i, : n if i in empty else i] = np.nan
    lost = forgetting_per_task(values)
    for i in range(n):
        if i in empty or i == n - 1:
            assert np.isnan(lost[i])
        else:
            assert lost[i] == max(values[i, t] for t in range(i, n - 1)) - values[i, n - 1]


def test_task_heat_map_writes_accuracies_and_forgetting() -> None:
    figure = task_heatmap_figure([[0.9, 0.8, 0.5], [np.nan, 0.6, 0.7], [np.nan, np.nan, 0.4]])
    left, right, _ = figure.axes
    assert texts(left) == ["90", "80", "50", "60", "70", "40"]
    assert texts(right) == ["40", "-10"]
    drawn(figure)


@pytest.mark.parametrize("n_tasks", [1, 2, 20])
def test_task_heat_map_of_any_size(n_tasks: int) -> None:
    drawn(task_heatmap_figure(np.where(np.tri(n_tasks).T > 0, 0.5, np.nan)))


def test_ap_heat_map_orders_classes_and_shows_what_was_forgotten() -> None:
    figure = class_forgetting_figure(
        [[NAN, 0.5, 0.2], [0.9, 0.8, 0.4], [NAN, NAN, NAN], [0.3, 0.6, 0.7]], list("abcd")
    )
    left, right, bar = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["b", "d", "a", "c"]
    shown = np.ma.filled(left.images[0].get_array().astype(float), np.nan)
    assert np.allclose(
        shown, [[90, 80, 40], [30, 60, 70], [NAN, 50, 20], [NAN] * 3], equal_nan=True
    )
    assert texts(left) == ["90", "80", "40", "30", "60", "70", "50", "20"]
    assert texts(right) == ["50", "-10", "30"]
    assert [line.get_ydata()[0] for line in left.lines] == [1.5, 2.5]
    assert bar.get_ylabel() == "average precision (%)"
    drawn(figure)


@pytest.mark.parametrize("shape", [(1, 1), (80, 8), (300, 30)])
def test_ap_heat_map_of_any_size(shape: tuple[int, int]) -> None:
    figure = class_forgetting_figure(np.full(shape, 0.5), [MATHEMATICS] * shape[0])
    assert drawn(figure).shape[1] <= 9.6 * 144 + 1
    assert len(figure.axes[0].get_yticks()) == (shape[0] if shape[0] <= 100 else 0)


def test_the_colour_bar_says_what_is_measured() -> None:
    assert task_heatmap_figure([[0.5]], measure="mAP").axes[2].get_ylabel() == "mAP (%)"
    classes = class_heatmap_figure([1], [[0.5]], measure="average precision")
    assert classes.axes[1].get_ylabel() == "average precision (%)"
