"""Curves over samples seen or over tasks: means over seeds, with a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cl_prompts.experiments.figures.style import (
    FAINT,
    MARKS,
    WIDTH,
    finish,
    new_figure,
    strategy_styles,
)
from cl_prompts.experiments.results.curves import Band
from cl_prompts.experiments.results.series import Floats

#: curves up to which bands are drawn; more would hide each other, and have intervals at marks
MAX_SPREADS = 3
SIZE = (WIDTH, 4.6)  # inches
_MARKS = 6  # of a curve, where intervals stand


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
        lowest = min(lowest, float(low.min()), float(band.middle.min()))
        mark = MARKS.get(styles[label]["linestyle"], "")
        names.append((100 * float(band.middle[-1]), label + mark, colour))
    for label, value in levels.items():
        colour = styles[label]["color"]
        axes.axhline(100 * value, color=colour, linewidth=1.6, linestyle=":")
        names.append((100 * value, f"{label}, final", colour))
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
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    ceiling = high
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    for place, (_, name, colour) in zip(places, names, strict=True):
        axes.annotate(
            name,
            (1.012, (place - low) / (high - low)),
            xycoords="axes fraction",
            color=colour,
            va="center",
            fontsize=10,
            parse_math=False,
        )
