"""Accuracy against the cost of a training sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from cl_prompts.experiments.figures.style import (
    AXIS,
    WIDTH,
    finish,
    new_figure,
    strategy_styles,
)

WIDE = (WIDTH, 5.0)
#: height of a name, width of a letter, and half the side of a dot, in inches
_LINE = 0.17
_LETTER = 0.076
_DOT = 0.06
_TICKS = (0.5, 1, 2, 3, 5, 10, 20, 50)


def cost_figure(
    points: Mapping[str, tuple[float, Sequence[float]]],
    *,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    measure: str = "A_AUC",
    size: tuple[float, float] = WIDE,
) -> Figure:
    """Accuracy against the cost of a training sample: a dot for the mean over seeds, a bar of one
    sample standard deviation, names in columns beside the dots.

    Args:
        points: for each strategy its cost in forward passes of the frozen ViT per sample (> 0) and
            the accuracy 0..1 of each seed.
        styles: style of each strategy, of which the colour is used; by default those of
            ``strategy_styles``.
        measure: what the accuracies are.
        size: width and height in inches.
    """
    figure, axes = new_figure(*size)
    styles = styles or strategy_styles(points)
    dots: list[tuple[float, float, str]] = []
    for name, (cost, values) in points.items():
        found = 100 * np.asarray(values)
        spread = found.std(ddof=1) if len(found) > 1 else None
        style = {"color": styles[name]["color"], "markersize": 6, "linewidth": 1}
        axes.errorbar(cost, found.mean(), yerr=spread, fmt="o", alpha=0.85, **style)
        dots.append((cost, float(found.mean()), name))
    axes.set_xscale("log")
    low = min(cost for cost, *_ in dots)
    high = max(cost for cost, *_ in dots)
    axes.set_xlim(low / 1.9, high * 1.5)  # room for names
    axes.xaxis.set_major_locator(FixedLocator([t for t in _TICKS if low / 1.9 <= t <= 1.5 * high]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    finish(
        axes,
        xlabel="F train: forward passes of the frozen ViT per stream sample (logarithmic)",
        ylabel=f"{measure} (%)",
        grid="y",
    )
    figure.draw_without_rendering()  # lays the axes out, so that places are final
    inches = [tuple(axes.transData.transform(dot[:2]) / figure.dpi) for dot in dots]
    for (cost, mean, name), (x, y) in zip(dots, _places(inches, dots), strict=True):
        axes.annotate(
            name,
            (cost, mean),
            axes.transData.inverted().transform((x * figure.dpi, y * figure.dpi)),
            color=styles[name]["color"],
            fontsize=9,
            va="center",
            arrowprops={"arrowstyle": "-", "color": AXIS, "linewidth": 0.6, "shrinkB": 2},
            parse_math=False,
        )
    return figure


def _places(
    inches: Sequence[tuple[float, ...]], dots: Sequence[tuple[float, float, str]]
) -> list[tuple[float, float]]:
    """Left middle of each name, in inches: near its dot, on no other name and no dot."""
    taken = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in inches]
    order = sorted(range(len(dots)), key=lambda i: -dots[i][1])
    places = [(0.0, 0.0)] * len(dots)
    for i in order:
        x, y = inches[i]
        width = _LETTER * len(dots[i][2])
        places[i] = (x + _DOT, y)  # where nothing is free
        for right, up in _offsets(width):
            box = (x + right, y + up - _LINE / 2, x + right + width, y + up + _LINE / 2)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                places[i] = (x + right, y + up)
                break
    return places


def _offsets(width: float) -> Iterator[tuple[float, float]]:
    """Where a name may stand from its dot, the nearest first: on the right, or on the left."""
    for step in range(40):
        for up in dict.fromkeys((step * _LINE / 2, -step * _LINE / 2)):
            away = 0.1 + 0.02 * step
            yield away, up
            yield -away - width, up


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
