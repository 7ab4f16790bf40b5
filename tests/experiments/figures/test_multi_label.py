"""F1 scores and test images with labels: the numbers they were given, at any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cl_prompts.experiments.figures.multi_label import examples_figure, f1_figure
from tests.experiments.figures.drawing import MATHEMATICS, NAN, drawn, texts


def lines_beside(figure: Any, i: int) -> list[str]:
    """The labels written beside image i of an examples figure."""
    return texts(figure.axes[2 * i + 1])


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
    "scores", [{}, {MATHEMATICS: {}}, {f"s{i}": {"CF1": [0.5], "OF1": [0.1]} for i in range(20)}]
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
    names = [f"{MATHEMATICS} a very long name of a class"] * 20
    drawn(examples_figure(np.zeros(shape, np.uint8), labels, labels, names))
