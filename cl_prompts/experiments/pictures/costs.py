"""What a training sample costs, and what it brings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from cl_prompts.experiments.pictures.style import AXIS, finish, new_figure, strategy_styles

WIDE = (9.6, 6.4)
#: costs that are this close, as logarithms to base 10, stand in one column of names
_COLUMN = 0.1
#: smallest distance of two names, in inches
_LINE = 0.17
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
    axes.set_xlim(low / 1.2, high * 1.9)  # room for the names on the right
    axes.xaxis.set_major_locator(FixedLocator([t for t in _TICKS if low / 1.2 <= t <= 2 * high]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    finish(
        axes,
        xlabel="F train: forward passes of the frozen ViT per stream sample",
        ylabel=f"{measure} (%)",
        grid="y",
    )
    bottom, top = axes.get_ylim()
    gap = _LINE * (top - bottom) / (0.86 * size[1])
    for column in _columns(dots):
        place = 1.05 * max(cost for cost, *_ in column)
        for (cost, mean, name), y in zip(column, _apart(column, gap), strict=True):
            axes.annotate(
                name,
                (cost, mean),
                (place, y),
                color=styles[name]["color"],
                fontsize=9,
                va="center",
                arrowprops={"arrowstyle": "-", "color": AXIS, "linewidth": 0.5, "shrinkB": 3},
                parse_math=False,
            )
    return figure


def _columns(dots: Sequence[tuple[float, float, str]]) -> list[list[tuple[float, float, str]]]:
    """Dots whose names share a column, each by ascending accuracy."""
    columns: list[list[tuple[float, float, str]]] = []
    last = -math.inf
    for dot in sorted(dots):
        if math.log10(dot[0]) - last > _COLUMN:
            columns.append([])
        columns[-1].append(dot)
        last = math.log10(dot[0])
    return [sorted(column, key=lambda dot: dot[1]) for column in columns]


def _apart(column: Sequence[tuple[float, float, str]], gap: float) -> list[float]:
    """Heights of names, at least ``gap`` apart and as near to their dots as that allows."""
    heights = [mean for _, mean, _ in column]
    for _ in range(200):
        moved = False
        for i in range(1, len(heights)):
            short = gap - (heights[i] - heights[i - 1])
            if short > 1e-6:
                heights[i] += short / 2
                heights[i - 1] -= short / 2
                moved = True
        if not moved:
            break
    return heights
