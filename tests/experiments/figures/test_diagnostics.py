"""Prompt usage, keys and buffer as pictures: the numbers they were given, at any size."""

from __future__ import annotations

import numpy as np
import pytest

from cl_prompts.experiments.figures.diagnostics import buffer_figure, key_figure, usage_figure
from cl_prompts.experiments.results.series import usage_entropy
from tests.experiments.figures.drawing import MATHEMATICS, NAN, drawn, texts


def test_usage_shows_shares_of_each_task_and_entropy() -> None:
    figure = usage_figure([[3, 1], [0, 0], [5, 5]], [0.81, NAN, 1.0])
    left, right, bar = figure.axes
    shown = np.ma.filled(left.images[0].get_array().astype(float), np.nan)
    assert np.allclose(shown, [[75, 25], [NAN, NAN], [50, 50]], equal_nan=True)
    assert texts(left) == ["75", "25", "50", "50"]
    assert texts(right) == ["0.81", "1.00"]
    assert [b.get_width() for b in right.patches] == pytest.approx([0.81, 1.0])
    assert right.lines[0].get_xdata()[0] == 1.0  # two prompts used alike
    assert bar.get_ylabel() == "share of uses (%)"
    drawn(figure)


def test_keys_are_shown_as_they_are() -> None:
    figure = key_figure([[1.0, -0.7], [-0.7, 1.0]])
    axes = figure.axes[0]
    assert np.array_equal(axes.images[0].get_array(), [[1, -0.7], [-0.7, 1]])
    assert axes.images[0].get_clim() == (-1, 1)
    assert texts(axes) == ["1.0", "-0.7", "-0.7", "1.0"]
    assert texts(key_figure(np.eye(2)).axes[0]) == ["1.0", "1.0"]
    drawn(figure)


def test_buffer_stacks_classes_in_the_order_in_which_they_were_held() -> None:
    figure = buffer_figure([[0, 10, 0], [4, 6, 0], [5, 5, 0]], list("abc"))
    axes = figure.axes[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "a",
        "b",
    ]  # as stacked: first held below
    reaches = [set(layer.get_paths()[0].vertices[:, 1]) for layer in axes.collections]
    assert reaches == [{0, 10, 6, 5}, {10, 6, 5}]  # the lower layer, then what stands on it
    assert sorted(texts(axes)) == sorted(["10", "6", "5", "4", "5"])
    assert axes.get_ylabel() == "samples held"
    drawn(figure)
    twenty = buffer_figure([[19, 1], [12, 8]]).axes[0]
    assert all(tick % 1 == 0 for tick in twenty.get_yticks())


@pytest.mark.parametrize(("n_tasks", "n_prompts"), [(1, 1), (10, 10), (40, 100)])
def test_usage_and_keys_of_any_size(n_tasks: int, n_prompts: int) -> None:
    counts = np.random.default_rng(0).integers(0, 9, (n_tasks, n_prompts))
    assert drawn(usage_figure(counts, usage_entropy(counts))).shape[1] <= 9.6 * 144 + 1
    drawn(usage_figure(np.zeros((n_tasks, n_prompts)), np.full(n_tasks, NAN)))
    drawn(key_figure(np.ones((n_prompts, n_prompts))))


@pytest.mark.parametrize(("n_tasks", "n_classes"), [(1, 1), (10, 20), (30, 200)])
def test_buffer_of_any_size(n_tasks: int, n_classes: int) -> None:
    counts = np.random.default_rng(0).integers(0, 9, (n_tasks, n_classes))
    figure = buffer_figure(counts, [MATHEMATICS] * n_classes, unit="labels")
    assert len(figure.legends) == (n_classes <= 20)
    drawn(figure)
    drawn(buffer_figure(np.zeros((n_tasks, n_classes))))
