"""Accuracy against the cost of a training sample."""

from __future__ import annotations

import itertools

from cl_prompts.experiments.figures import cost_figure, svg_text


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


def test_names_do_not_overlap() -> None:
    points = {f"method_{i}": (2.6 + 0.01 * i, [0.7 + 0.001 * i]) for i in range(20)}
    figure = cost_figure(points)
    svg_text(figure)  # lays it out
    (axes,) = figure.axes
    boxes = [text.get_window_extent().padded(-2) for text in axes.texts]
    assert len(boxes) == 20
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
