"""Curves over samples seen or over tasks, means over seeds with a band, and accuracy against the
cost of a training sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from cl_prompts.experiments.figures.style import (
    AXIS,
    FAINT,
    MARKS,
    WIDTH,
    drawing,
    finish,
    new_figure,
    short,
    strategy_styles,
)
from cl_prompts.experiments.results.curves import Band
from cl_prompts.experiments.results.series import Floats

#: curves up to which bands are drawn; more would hide each other, and have intervals at marks
MAX_SPREADS = 3
SIZE = (WIDTH, 4.6)  # inches
_MARKS = 6  # of a curve, where intervals stand
_MOST_LETTERS = 60  # of the name of a row, beside which there has to be room


@drawing()
def curve_figure(
    bands: Mapping[str, Band],
    *,
    levels: Mapping[str, float] | None = None,
    lines: Sequence[int] = (),
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    xlabel: str = "samples seen (images)",
    ylabel: str = "accuracy over the classes seen (%)",
    tasks: bool = False,
) -> Figure:
    """Means with their bands and names at the right, the same as the report's interactive chart.

    Args:
        bands: mean curve of each row, fractions.
        levels: values 0..1 of rows without a curve, drawn as dotted lines.
        lines: vertical lines, such as task ends.
        styles: line style of each row; default ``strategy_styles`` of the names given.
        xlabel, ylabel: names of the axes.
        tasks: whether x counts tasks.
    """
    levels = levels or {}
    styles = styles or strategy_styles([*bands, *levels])
    figure, axes = new_figure(*SIZE)
    for place in sorted(set(lines)):
        axes.axvline(place, color=FAINT, linewidth=1, zorder=0)
    names: list[tuple[float, str, str]] = []
    lowest = min(levels.values(), default=1.0)
    order = list(bands)
    for label, band in bands.items():
        colour = styles[label]["color"]
        low = band.middle
        if band.half is not None:
            low = _draw_spread(axes, band, colour, order.index(label), len(order))
        marker = "o" if tasks or len(band.x) == 1 else None
        axes.plot(band.x, 100 * band.middle, **styles[label], linewidth=2.2, marker=marker)
        # Intervals stand at few points, between which the curve itself may be lower.
        lowest = min(lowest, float(low.min()), float(band.middle.min()))
        mark = MARKS.get(styles[label]["linestyle"], "")
        names.append((100 * float(band.middle[-1]), label + mark, colour))
    for label, value in levels.items():
        colour = styles[label]["color"]
        axes.axhline(100 * value, color=colour, linewidth=1.6, linestyle=":")
        names.append((100 * value, f"{label}, final", colour))
    # From a multiple of ten that leaves some room below the lowest value.
    axes.set_ylim(max(0.0, 10 * np.floor((100 * lowest - 4) / 10)), 100)
    if tasks:
        _task_axis(axes, round(max((float(band.x[-1]) for band in bands.values()), default=1)))
    else:
        axes.set_xlim(left=0)
        axes.margins(x=0)
    finish(axes, xlabel=xlabel, ylabel=ylabel, grid="y")
    _write_names(axes, names)
    return figure


def _draw_spread(axes: Any, band: Band, colour: str, place: int, n: int) -> Floats:
    """Draw a band or, of one of many curves, intervals at its marks.

    Returns:
        The low ends of what was drawn.
    """
    half = np.zeros(0) if band.half is None else 100 * band.half
    middle = 100 * band.middle
    if n <= MAX_SPREADS:
        axes.fill_between(band.x, middle - half, middle + half, color=colour, alpha=0.15, lw=0)
        return (middle - half) / 100
    at = marks(band.x, place, n)
    axes.errorbar(
        band.x[at], middle[at], half[at], fmt="o", color=colour, markersize=4, capsize=3, lw=1.2
    )
    return (middle[at] - half[at]) / 100


def marks(x: Floats, place: int, n: int) -> list[int]:
    """Points of a curve at which intervals are drawn, apart from those of other curves.

    >>> marks(np.arange(12.0), 0, 4), marks(np.arange(12.0), 1, 4)
    ([0, 4, 8], [1, 5, 9])
    """
    # As many as there is room for, three at least.
    step = max(1, len(x) // _MARKS, min(n, len(x) // 3))
    return list(range(place % step, len(x), step))


def _task_axis(axes: Any, n_tasks: int) -> None:
    margin = 0.1 if n_tasks > 1 else 0.5
    axes.set_xlim(1 - margin, n_tasks + margin)
    places = range(1, n_tasks + 1, -(-n_tasks // 20))
    axes.set_xticks(places, [str(task) for task in places])


def _write_names(axes: Any, names: list[tuple[float, str, str]]) -> None:
    """Write names at the right ends of lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = 0.05 * (high - low)
    names = sorted(names)
    places = [value for value, _, _ in names]
    # Upwards, so that each keeps its distance from the one below; then down from the top, for those
    # that were pushed beyond it.
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    ceiling = high
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    for place, (_, name, colour) in zip(places, names, strict=True):
        axes.annotate(
            short(name, _MOST_LETTERS),
            (1.012, (place - low) / (high - low)),
            xycoords="axes fraction",
            color=colour,
            va="center",
            fontsize=10,
            parse_math=False,
        )


#: height of a name, width of a letter, and half the side of a dot, in inches
_LINE = 0.17
_LETTER = 0.076
_DOT = 0.06
_TICKS = (0.5, 1, 2, 3, 5, 10, 20, 50)


@drawing()
def cost_figure(
    points: Mapping[str, tuple[float, Sequence[float]]],
    *,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    measure: str = "A_AUC",
) -> Figure:
    """Accuracy against the cost of a training sample: a dot for the mean over seeds, a bar of one
    sample standard deviation, names in columns beside the dots.

    Args:
        points: for each strategy its cost in forward passes of the frozen ViT per sample (> 0) and
            the accuracy 0..1 of each seed.
        styles: style of each strategy, of which the colour is used; by default those of
            ``strategy_styles``.
        measure: what the accuracies are.
    """
    figure, axes = new_figure(WIDTH, 5.0)
    styles = styles or strategy_styles(points)
    dots: list[tuple[float, float, str]] = []
    for name, (cost, values) in points.items():
        found = 100 * np.asarray(values)
        spread = found.std(ddof=1) if len(found) > 1 else None
        style = {"color": styles[name]["color"], "markersize": 6, "linewidth": 1}
        axes.errorbar(cost, found.mean(), yerr=spread, fmt="o", alpha=0.85, **style)
        dots.append((cost, float(found.mean()), short(name, _MOST_LETTERS)))
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
    places = zip(points, dots, _places(inches, dots), strict=True)
    for name, (cost, mean, shown), (x, y) in places:
        axes.annotate(
            shown,
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
    # The best first: their names get the places next to their dots.
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
        # At the first step both places are the same.
        for up in dict.fromkeys((step * _LINE / 2, -step * _LINE / 2)):
            away = 0.1 + 0.02 * step
            yield away, up
            yield -away - width, up


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
