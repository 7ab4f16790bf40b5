"""The picture of a stream: every class and count, at any size."""

from __future__ import annotations

import numpy as np
import pytest

from cl_prompts.experiments.figures.streams import _stream_rows, stream_figure
from cl_prompts.experiments.figures.style import CARD, WIDTH
from tests.experiments.figures.drawing import MATHEMATICS, drawn, stream, texts


def test_stream_orders_disjoint_before_blurry_and_writes_counts() -> None:
    figure = stream_figure(stream(2, 4), ["a", "b", "c", "d"])
    bars, matrix = figure.axes
    assert [label.get_text() for label in matrix.get_yticklabels()] == ["a", "c", "b", "d"]
    assert texts(bars) == ["200", "180"] or texts(bars) == ["180", "200"]
    assert sorted(texts(matrix)) == ["10", "10", "90", "90", "90", "90"]
    assert any(text.get_text() == "disjoint classes (2)" for text in figure.legends[0].get_texts())
    pixels = drawn(figure).reshape(-1, 3)
    for colour in (
        (0, 114, 178),
        (213, 94, 0),
    ):  # a disjoint class is wholly in one task; the bars are solid
        assert (pixels == colour).all(1).sum() > 1000


@pytest.mark.parametrize(
    ("n_tasks", "n_classes", "width"),
    [(1, 1, CARD), (5, 10, WIDTH), (10, 100, CARD), (5, 200, WIDTH), (40, 200, WIDTH)],
)
def test_stream_of_any_size_fits(n_tasks: int, n_classes: int, width: float) -> None:
    figure = stream_figure(stream(n_tasks, n_classes), [MATHEMATICS] * n_classes, width=width)
    assert drawn(figure).shape[1] == int(width * 144)
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert len(figure.axes[1].get_yticks()) <= 40
    assert len(figure.axes[1].get_xticks()) <= 20


def test_classes_that_never_occur_or_have_no_kind() -> None:
    figure = stream_figure({"counts": [[5, 0, 3], [0, 0, 3]], "disjoint_classes": [[0], []]})
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[:2] == ["disjoint classes (1)", "other classes (1)"]
    assert words[3] == "1 class not in the stream"
    drawn(figure)
    alike = stream_figure({"counts": [[5, 3]]})
    assert alike.legends[0].get_texts()[0].get_text() == "classes (2)"


def test_labels_are_called_labels() -> None:
    labels = stream_figure(stream(2, 4), unit="labels")
    assert labels.axes[0].get_ylabel() == "labels"
    words = [text.get_text() for text in labels.legends[0].get_texts()]
    assert any("share of the class's labels" in word for word in words)


class Counted(int):
    """A class that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return int(self) == other

    __hash__ = int.__hash__


def test_the_order_of_classes_takes_no_comparison_of_all_with_all() -> None:
    n = 300
    kinds = {"disjoint_classes": [[Counted(c) for c in range(n)]], "blurry_classes": [[]]}
    rows, names = _stream_rows(kinds, np.ones((1, n)))
    assert rows == list(range(n))
    assert names == ["disjoint"] * n
    assert Counted.compared <= 3 * n
