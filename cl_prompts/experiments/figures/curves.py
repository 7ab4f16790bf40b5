"""Curves of strategies with bands, and differences to a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from cl_prompts.experiments.figures.style import PALETTE, Chart
from cl_prompts.experiments.results.aggregates import Band

#: points of a curve; of more, every second, third, ... is drawn
MAX_POINTS = 200
#: curves up to which bands are distinct, and points up to which each has a dot
_MAX_BANDS = 3
_MAX_DOTTED = 24
_DASHES = ([1, 0], [7, 3], [2, 2])


def curve_chart(
    bands: Mapping[str, Band],
    rows: Sequence[str],
    *,
    xlabel: str,
    ylabel: str,
    ends: Sequence[int] = (),
    differences: bool = False,
) -> Chart:
    """Draw mean curves over seeds with their bands.

    A click on the legend selects a curve; the tooltip shows the nearest point.

    Args:
        bands: mean curve of each row, as fractions.
        rows: all rows of the page: each has one colour in all charts.
        xlabel, ylabel: titles of the axes.
        ends: places of vertical lines.
        differences: whether values are differences in points.
    """
    points = [point for row, band in bands.items() for point in _points(row, band, differences)]
    picked = alt.selection_point(fields=["strategy"], bind="legend")
    near = alt.selection_point(on="pointerover", clear="pointerout", nearest=True, empty=False)
    color, dash = _look(rows, list(bands))
    wide = alt.Scale(zero="image" in xlabel)
    x = alt.X("x:Q", title=xlabel, scale=wide, axis=alt.Axis(tickMinStep=1))
    scale = _y_scale(bands, differences)
    y = alt.Y("mean:Q", title=ylabel, scale=scale)
    # Named data: one copy of the points for three layers.
    base = alt.Chart(alt.NamedData("points"))
    base = base.encode(x=x, color=color, tooltip=_tips(xlabel, ylabel))
    faint = 0.15 if len(bands) <= _MAX_BANDS else 0.06
    area = base.mark_area(clip=True).encode(
        y=alt.Y("low:Q", title=ylabel, scale=scale),
        y2="high:Q",
        opacity=alt.condition(picked, alt.value(faint), alt.value(0)),
    )
    line = base.mark_line(clip=True).encode(
        y=y, strokeDash=dash, opacity=alt.condition(picked, alt.value(1), alt.value(0.1))
    )
    few = max(len(band.x) for band in bands.values()) <= _MAX_DOTTED
    dots = base.mark_point(filled=True, clip=True).encode(
        y=y,
        opacity=alt.condition(near, alt.value(1), alt.value(0.8 if few else 0)),
        size=alt.condition(near, alt.value(110), alt.value(25)),
    )
    layers = [area, line.add_params(picked), dots.add_params(near)]
    if len(ends):
        layers.append(_rules("x", ends))
    if differences:
        layers.append(_rules("y", [0]))
    return alt.layer(*layers).properties(height=320, datasets={"points": points})


def _look(rows: Sequence[str], shown: Sequence[str]) -> tuple[alt.Color, alt.StrokeDash]:
    """Colour and dashes of each row, with a legend of the drawn ones."""
    symbols = {"symbolLimit": 0, "symbolOpacity": 1, "symbolType": "stroke"}
    place = {"orient": "bottom", "columns": 2, "labelLimit": 150}
    legend = alt.Legend(values=list(shown), title=None, **place, **symbols)
    dashes = [_DASHES[i // len(PALETTE) % len(_DASHES)] for i in range(len(rows))]
    scale = alt.Scale(domain=list(rows))
    dashed = alt.Scale(domain=list(rows), range=dashes)
    color = alt.Color("strategy:N", scale=scale, legend=legend)
    return color, alt.StrokeDash("strategy:N", scale=dashed, legend=legend)


def _rules(axis: str, places: Sequence[int]) -> alt.Chart:
    values = alt.Data(values=[{"place": int(place)} for place in places])
    return alt.Chart(values).mark_rule(opacity=0.25).encode(**{axis: "place:Q"})


def _points(row: str, band: Band, differences: bool) -> list[dict[str, str | float]]:
    """Points of a curve in percent, with the last one."""
    step = -(-len(band.x) // MAX_POINTS)
    low, high = (-np.inf, np.inf) if differences else (0, 100)
    found = []
    for i in reversed(range(len(band.x) - 1, -1, -step)):
        mean = 100 * band.middle[i]
        point: dict[str, str | float]
        point = {"strategy": row, "x": float(band.x[i]), "mean": round(mean, 2), "n": band.seeds}
        if band.half is not None:
            point["low"] = round(max(low, mean - 100 * band.half[i]), 2)
            point["high"] = round(min(high, mean + 100 * band.half[i]), 2)
        found.append(point)
    return found


def _y_scale(bands: Mapping[str, Band], differences: bool) -> alt.Scale:
    """Range of all means and most of their bands."""
    values = np.concatenate([band.middle for band in bands.values()] + [np.zeros(int(differences))])
    halves = [band.half for band in bands.values() if band.half is not None]
    # Wide bands at the start or of few seeds must not flatten the curves.
    room = float(np.median(np.concatenate(halves))) if halves else 0.0
    room = max(0.01, min(room, float(np.ptp(values)) / 2))
    low, high = values.min() - room, values.max() + room
    if not differences:
        low, high = max(0.0, low), min(1.0, high)
    return alt.Scale(domain=[round(100 * low, 1), round(100 * high, 1)], zero=False)


def _tips(xlabel: str, ylabel: str) -> list[alt.Tooltip]:
    about = {"mean": ylabel, "low": "band, low", "high": "band, high"}
    return [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("x:Q", title=xlabel, format=","),
        *(alt.Tooltip(f"{end}:Q", title=title, format=".1f") for end, title in about.items()),
        alt.Tooltip("n:Q", title="seeds"),
    ]
