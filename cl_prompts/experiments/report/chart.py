"""Curves of the report as inline SVG, with their numbers for the script.

The plane of a plot is an SVG of 1000 by 1000 units that is stretched to its place, while all texts
are HTML around it: letters keep their size on any screen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from cl_prompts.experiments.figures.curves import MAX_SPREADS, marks
from cl_prompts.experiments.figures.style import LINES, PALETTE
from cl_prompts.experiments.results.curves import Band
from cl_prompts.experiments.results.series import Floats
from cl_prompts.experiments.run_folder.files import harmless

View = dict[str, Any]
Styles = Mapping[str, Mapping[str, Any]]

#: points of a curve above which only every second, third, ... one is drawn
MAX_POINTS = 400
#: points and curves up to which single points get a dot
_MAX_DOTTED = (24, 12)
_PLANE = 1000
_CAP = 6  # half the width of the end of an interval


def plot(
    name: str,
    bands: Mapping[str, Band],
    styles: Styles,
    order: Sequence[str],
    *,
    alt: str,
    xlabel: str,
    ylabel: str,
    differences: bool = False,
    levels: Mapping[str, float] | None = None,
    lines: Sequence[float] = (),
    breaks: Sequence[float] = (),
    tasks: bool = False,
) -> View:
    """Values for the template: one plot.

    Args:
        name: heading.
        bands: curves by row, as fractions; drawn in percent, or in points of percent.
        styles: style of each row, see ``strategy_styles``.
        order: all rows of the legend; a curve is found by its place in it.
        alt: alternative text.
        xlabel, ylabel: names of the axes.
        differences: whether 0 is a line of its own, and numbers have signs.
        levels: horizontal lines by row, as fractions.
        lines, breaks: vertical lines, and strong ones.
        tasks: whether x counts tasks.
    """
    levels = levels or {}
    x = x_scale(bands.values(), tasks)
    y = y_scale(bands.values(), levels.values(), differences)
    total = sum(len(band.x) for band in bands.values())
    dotted = len(bands) <= _MAX_DOTTED[1] and total <= _MAX_DOTTED[0] * len(bands)
    place = {label: number for number, label in enumerate(order)}
    curves = [
        {
            "index": place[label],
            "style": _classes(styles[label]),
            **_paths(band, x, y, dotted),
            **_bars(band, x, y, place[label], len(order)),
        }
        for label, band in bands.items()
    ]
    for label, value in levels.items():
        # In SVG, y points downwards.
        height = _number(_PLANE * (1 - y.place(100 * value)))
        path = {"line": f"M0 {height}H{_PLANE}", "band": "", "dots": "", "bars": "", "marks": ""}
        curves.append({"index": place[label], "style": _classes(styles[label]) + " level", **path})
    return {
        "name": name,
        "alt": alt,
        "xlabel": xlabel,
        "ylabel": ylabel,
        "differences": differences,
        "curves": curves,
        "xticks": [(_number(100 * x.place(at)), text) for at, text in x.ticks],
        "yticks": [(_number(100 * (1 - y.place(at))), text) for at, text in y.ticks],
        "lines": [_number(_PLANE * x.place(at)) for at in lines if x.low <= at <= x.high],
        "breaks": [_number(_PLANE * x.place(at)) for at in breaks],
        "cut": any(_is_cut(band, y, differences) for band in bands.values()),
        "zero": _number(_PLANE * (1 - y.place(0))) if differences else None,
        "data": _data(bands, levels, place, x, y, differences),
    }


def chart(plots: Sequence[View], order: Sequence[str], styles: Styles) -> View:
    """Plots beside each other that share a legend, and their numbers for the script.

    Args:
        plots: of :func:`plot`, with the same ``order``.
        order: rows of the legend, from the top.
        styles: style of each row.
    """
    finals = [_finals(one) for one in plots]
    levels = {key for one in plots for key in one["data"]["levels"]}
    legend = []
    for number, label in enumerate(order):
        style = _classes(styles[label]) + " level" * (str(number) in levels)
        values = [found.get(number, "") for found in finals]
        legend.append({"label": label, "style": style, "values": values})
    data = {
        "labels": list(order),
        # For the script's file of the curves, which a spreadsheet may open.
        "cells": [harmless(label) for label in order],
        "most": MAX_SPREADS,
        "plots": [one["data"] for one in plots],
    }
    return {
        "plots": plots,
        "legend": legend,
        "many": max(len(one["data"]["curves"]) for one in plots) > MAX_SPREADS,
        "json": script_json(data),
    }


def script_json(data: Any) -> Markup:
    """JSON that may stand in a script element."""
    # A name may hold </script>, which would end the element, or an entity.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def thinned(band: Band) -> Band:
    """A band of at most ``MAX_POINTS`` points, the last among them."""
    step = -(-len(band.x) // MAX_POINTS)
    # From the end backwards: the last point, which the legend names, is among them.
    kept = np.arange(len(band.x) - 1, -1, -step)[::-1]
    half = None if band.half is None else band.half[kept]
    return Band(band.x[kept], band.middle[kept], half, band.seeds)


def _classes(style: Mapping[str, Any]) -> str:
    """Classes of the style sheet: ``k0`` and so on for the colour, ``d0`` for the dashes."""
    return f"k{PALETTE.index(style['color'])} d{LINES.index(style['linestyle'])}"


def _paths(band: Band, x: Scale, y: Scale, dotted: bool) -> dict[str, str]:
    """Paths of the line, of the band and of dots."""
    band = thinned(band)
    across = _PLANE * x.place(band.x)
    points = _points(across, _up(band.middle, y))
    area = ""
    if band.half is not None:
        top = _points(across, _up(band.middle + band.half, y))
        bottom = _points(across, _up(band.middle - band.half, y))
        area = f"M{'L'.join(top)}L{'L'.join(reversed(bottom))}Z"
    # A line of no length has round ends alone, which make a dot of any size.
    dots = "".join(f"M{point}h0" for point in points)
    return {
        "line": f"M{'L'.join(points)}",
        "band": area,
        "dots": dots if dotted or len(points) == 1 else "",
    }


def _is_cut(band: Band, y: Scale, differences: bool) -> bool:
    """Whether a band reaches beyond the picture; beyond 0 and 100 % there is nothing to see."""
    if band.half is None:
        return False
    low = 100 * (band.middle - band.half).min()
    high = 100 * (band.middle + band.half).max()
    if not differences:
        low = max(low, 0.0)
        high = min(high, 100.0)
    return bool(low < y.low or high > y.high)


def _bars(band: Band, x: Scale, y: Scale, place: int, n: int) -> dict[str, str]:
    """Paths of marks on a curve and of their intervals, shown where many bands would hide each
    other."""
    band = thinned(band)
    if band.half is None:
        return {"bars": "", "marks": ""}
    at = marks(band.x, place, n)
    middle, half = band.middle[at], band.half[at]
    across = _PLANE * x.place(band.x[at])
    ends = zip(
        across.tolist(),
        _up(middle - half, y).tolist(),
        _up(middle + half, y).tolist(),
        strict=True,
    )
    cap = 2 * _CAP
    bars = "".join(
        f"M{_number(at)} {_number(low)}V{_number(high)}"
        f"M{_number(at - _CAP)} {_number(low)}h{cap}"
        f"M{_number(at - _CAP)} {_number(high)}h{cap}"
        for at, low, high in ends
    )
    # A line of no length is a dot, since its ends are round.
    dots = "".join(f"M{point}h0" for point in _points(across, _up(middle, y)))
    return {"bars": bars, "marks": dots}


def _up(values: Floats, y: Scale) -> Floats:
    return np.asarray(_PLANE * (1 - y.place(100 * values)), float)


def _points(across: Floats, down: Floats) -> list[str]:
    return [f"{_number(a)} {_number(b)}" for a, b in zip(across, down, strict=True)]


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _data(
    bands: Mapping[str, Band],
    levels: Mapping[str, float],
    place: Mapping[str, int],
    x: Scale,
    y: Scale,
    differences: bool,
) -> View:
    """Numbers of a plot for the script, in percent."""
    curves: dict[str, View] = {}
    for label, band in bands.items():
        kept = thinned(band)
        half = None if kept.half is None else _rounded(kept.half)
        curves[str(place[label])] = {
            # Whole numbers without ".0", which most of them are: the page gets shorter.
            "x": [int(at) if at == int(at) else at for at in kept.x.tolist()],
            "y": _rounded(kept.middle),
            "half": half,
            "n": band.seeds,
        }
    flat = {str(place[label]): round(100 * value, 2) for label, value in levels.items()}
    return {
        "x": [x.low, x.high],
        "y": [round(y.low, 4), round(y.high, 4)],
        "signed": differences,
        "curves": curves,
        "levels": flat,
    }


def _rounded(values: Floats) -> list[float]:
    return [round(100 * value, 2) for value in values.tolist()]


def _finals(one: View) -> dict[int, str]:
    """Last value of each curve, as the legend writes it."""
    data = one["data"]
    form = "{:+.1f}" if data["signed"] else "{:.1f}"
    finals = {int(key): form.format(curve["y"][-1]) for key, curve in data["curves"].items()}
    return finals | {int(key): form.format(value) for key, value in data["levels"].items()}


@dataclass(frozen=True)
class Scale:
    """Range of an axis, and its ticks.

    >>> Scale(0, 50, ((0, "0"), (25, "25"))).place(25)
    0.5
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: Any) -> Any:
        """Where a value stands, 0 to 1 from the low end."""
        return (value - self.low) / (self.high - self.low)


def x_scale(bands: Iterable[Band], tasks: bool) -> Scale:
    """From 0 to the last sample, or from the first task to the last."""
    last = max((float(band.x[-1]) for band in bands), default=1.0)
    if tasks:
        count = round(last)
        shown = range(1, count + 1, -(-count // 10))
        # A single task stands in the middle.
        margin = 0.0 if count > 1 else 0.5
        return Scale(1 - margin, count + margin, tuple((task, str(task)) for task in shown))
    return Scale(0, last, x_ticks(last))


def x_ticks(last: float) -> tuple[tuple[float, str], ...]:
    """Round numbers of samples from 0 on, and their texts.

    >>> x_ticks(1500)
    ((0.0, '0'), (500.0, '500'), (1000.0, '1,000'), (1500.0, '1,500'))
    """
    return tuple((at, f"{at:,.0f}") for at in _ticks(0, last, 4))


def y_scale(bands: Iterable[Band], levels: Iterable[float], differences: bool) -> Scale:
    """Range of all means, and of the most part of their bands."""
    bands = list(bands)
    middles = [100 * band.middle for band in bands]
    values = np.concatenate([*middles, [100 * level for level in levels], [0] * differences])
    halves = [band.half for band in bands if band.half is not None]
    # A wide band at the start, or one of few seeds, must not flatten the curves.
    room = 100 * float(np.median(np.concatenate(halves))) if halves else 0.0
    room = max(1.0, min(room, float(np.ptp(values)) / 2))
    low = float(values.min()) - room
    high = float(values.max()) + room
    if not differences:
        low = max(0.0, low)
        high = min(100.0, high)
    form = "{:+g}" if differences else "{:g}"
    ticks = tuple((at, form.format(at) if at else "0") for at in _ticks(low, high, 6))
    return Scale(low, high, ticks)


def _ticks(low: float, high: float, most: int) -> list[float]:
    found = MaxNLocator(nbins=most, steps=[1, 2, 5, 10]).tick_values(low, high)
    # Without what rounding leaves behind, as in 0.30000000000000004.
    return [round(float(at), 9) for at in found if low <= at <= high]
