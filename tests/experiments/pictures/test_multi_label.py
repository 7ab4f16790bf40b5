"""The figures of multi-label runs: that they show the numbers they were given, at any size, without
warnings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cl_prompts.experiments import pictures
from cl_prompts.experiments.multi_label_pictures import (
    ap_heatmap_figure,
    examples_figure,
    f1_figure,
    map_figure,
)
from tests.experiments.test_pictures import drawn, stream, texts

NAN = float("nan")


def lines_beside(figure: Any, i: int) -> list[str]:
    """The labels written beside image i of an examples figure."""
    return texts(figure.axes[2 * i + 1])


def test_map_is_drawn_over_tasks_with_mean_and_band() -> None:
    figure = map_figure({"lane": [[0.9, 0.5], [0.7, 0.7]]}, references={"joint": 0.95})
    axes = figure.axes[0]
    mean = max(axes.lines, key=lambda line: line.get_linewidth())
    assert np.allclose(mean.get_xydata(), [[1, 80], [2, 60]])
    band = axes.collections[0].get_paths()[0].vertices
    assert np.isclose(band[:, 1].max(), 80 + 100 * np.std([0.9, 0.7], ddof=1))
    assert texts(axes) == ["lane", "joint, final"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2"]
    drawn(figure)


def test_a_task_without_map_is_left_out_and_so_is_a_strategy_without_any() -> None:
    figure = map_figure({"a": [[NAN, 0.5, 0.6]], "b": [[NAN, NAN, NAN]]})
    axes = figure.axes[0]
    assert texts(axes) == ["a"]
    assert np.allclose(axes.lines[0].get_xydata(), [[2, 50], [3, 60]])
    drawn(figure)


@pytest.mark.parametrize("n_tasks", [1, 2, 40])
def test_map_over_any_number_of_tasks(n_tasks: int) -> None:
    figure = map_figure({"a": [[0.5] * n_tasks], "b": [[0.4] * n_tasks] * 3})
    assert len(figure.axes[0].get_xticks()) <= 20
    drawn(figure)


def test_ap_heat_map_orders_classes_and_shows_what_was_forgotten() -> None:
    figure = ap_heatmap_figure(
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
    figure = ap_heatmap_figure(np.full(shape, 0.5))
    assert drawn(figure).shape[1] <= 9.6 * 144 + 1
    assert len(figure.axes[0].get_yticks()) == (shape[0] if shape[0] <= 100 else 0)


def test_f1_panels_show_mean_and_seeds() -> None:
    scores = {"a": {"CF1 at 0.8": [0.2, 0.4], "OF1 at 0.8": [0.5]}, "b": {"CF1 at 0.8": [NAN, 1.0]}}
    figure = f1_figure(scores)
    first, second = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["CF1 at 0.8 (%)", "OF1 at 0.8 (%)"]
    assert texts(first) == ["30.0", "100.0"]
    assert texts(second) == ["50.0"]
    assert [bar.get_width() for bar in first.patches] == pytest.approx([30, 100])
    assert first.lines[0].get_xdata() == pytest.approx([20, 40])
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b"]
    drawn(figure)


@pytest.mark.parametrize(
    "scores", [{}, {"a": {}}, {f"s{i}": {"CF1": [0.5], "OF1": [0.1]} for i in range(20)}]
)
def test_f1_of_any_size(scores: dict[str, Any]) -> None:
    drawn(f1_figure(scores))


def test_examples_tell_right_missed_and_wrong_labels_apart() -> None:
    truth = np.array([[1, 1, 0, 0], [0, 0, 0, 0]])
    predicted = np.array([[1, 0, 1, 0], [0, 0, 0, 0]])
    images = np.full((2, 3, 8, 8), 200, np.uint8)
    figure = examples_figure(images, truth, predicted, ["cat", "dog", "cow", "hen"])
    assert lines_beside(figure, 0) == ["✓ cat", "✗ cow", "○ dog"]
    assert lines_beside(figure, 1) == ["no label"]
    assert len({text.get_color() for text in figure.axes[1].texts}) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "right",
        "missed",
        "wrongly predicted",
    ]
    assert np.array_equal(figure.axes[0].images[0].get_array(), np.full((8, 8, 3), 200))
    assert (drawn(figure) == 200).all(2).sum() > 10_000


@pytest.mark.parametrize(("n", "n_classes"), [(0, 3), (2, 1), (5, 4), (14, 12)])
def test_every_label_is_written_once_or_counted(n: int, n_classes: int) -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.random((2, n, n_classes)) < 0.5
    figure = examples_figure(np.zeros((n, 3, 4, 6), np.uint8), truth, predicted)
    assert sum(len(axes.images) for axes in figure.axes) == min(n, 12)
    for i in range(min(n, 12)):
        lines = lines_beside(figure, i)
        wanted = int((truth[i] | predicted[i]).sum())
        if wanted == 0:
            assert lines == ["no label"]
        elif wanted <= 8:
            assert len(lines) == wanted
        else:
            assert len(lines) == 8
            assert lines[-1] == f"and {wanted - 7} more"


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (12, 3, 300, 100), (30, 3, 64, 64)])
def test_examples_of_any_size(shape: tuple[int, ...]) -> None:
    labels = np.ones((shape[0], 20), bool)
    names = [r"$\frac{$ a very long name of a class"] * 20
    drawn(examples_figure(np.zeros(shape, np.uint8), labels, labels, names))


def test_names_are_not_read_as_mathematics() -> None:
    name = r"$\frac{$"
    drawn(map_figure({name: [[0.5]]}))
    drawn(ap_heatmap_figure([[0.5]], [name]))
    drawn(f1_figure({name: {"CF1": [0.5]}}))


def test_other_figures_say_what_they_measure() -> None:
    curve = pictures.curve_figure({"a": [[(10, 0.5)]]}, measure="mAP")
    assert curve.axes[0].get_ylabel() == "anytime mAP over seen classes (%)"
    assert pictures.task_heatmap_figure([[0.5]], measure="mAP").axes[2].get_ylabel() == "mAP (%)"
    classes = pictures.class_heatmap_figure([1], [[0.5]], measure="average precision")
    assert classes.axes[1].get_ylabel() == "average precision (%)"
    labels = pictures.stream_figure(stream(2, 4), unit="labels")
    assert labels.axes[0].get_ylabel() == "labels"
    assert any(
        "share of the class's labels" in text.get_text() for text in labels.legends[0].get_texts()
    )
