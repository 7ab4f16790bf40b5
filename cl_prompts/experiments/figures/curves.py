"""Curves of strategies with bands, and differences to a reference."""

from collections.abc import Mapping, Sequence

import altair as alt

from cl_prompts.experiments.figures.style import PALETTE, Chart
from cl_prompts.experiments.results.aggregates import Band

#: points of a curve; of more, every second, third, ... is drawn
MAX_POINTS = 200
_MARGIN = 5  # points above and below all means
_DASHES = ([1, 0], [7, 3], [2, 2], [9, 2, 2, 2], [4, 6])


def curve_chart(
    bands: Mapping[str, Band],
    rows: Sequence[str],
    *,
    xlabel: str,
    ylabel: str,
    differences: bool = False,
    marked: Mapping[str, Sequence[float]] | None = None,
) -> Chart:
    """Draw mean curves over seeds with their bands.

    A click on the legend selects a curve; a tooltip shows each point.

    Args:
        bands: mean curve of each row, as fractions.
        rows: all rows of the page: each has one colour in all charts.
        xlabel, ylabel: titles of the axes.
        differences: whether values are differences in points.
        marked: x of the points of each row that have a ring; given, the x axis is logarithmic.
    """
    points = [point for row, band in bands.items() for point in _points(row, band)]
    # Wide bands, as of few seeds, must not flatten the curves.
    means = [*(float(point["mean"]) for point in points), *[0.0] * differences]
    scale = alt.Scale(domain=[min(means) - _MARGIN, max(means) + _MARGIN])
    picked = alt.selection_point(fields=["strategy"], bind="legend")
    dashes = [_DASHES[i // len(PALETTE) % len(_DASHES)] for i in range(len(rows))]
    look = {"symbolLimit": 0, "symbolOpacity": 1, "symbolType": "stroke", "labelLimit": 150}
    legend = alt.Legend(values=list(bands), title=None, orient="bottom", columns=2, **look)
    dashed = alt.Scale(domain=list(rows), range=dashes)
    across = alt.Scale(zero="image" in xlabel) if marked is None else alt.Scale(type="log")
    # Named data: one copy of the points for both layers.
    base = alt.Chart(alt.NamedData("points")).encode(
        x=alt.X("x:Q", title=xlabel, scale=across),
        color=alt.Color("strategy:N", scale=alt.Scale(domain=list(rows)), legend=legend),
        # Altair needs longer for texts than for channels.
        tooltip=[*map(alt.Tooltip, ("strategy:N", "x:Q", "mean:Q", "low:Q", "high:Q", "n:Q"))],
    )
    area = base.mark_area(clip=True).encode(
        y=alt.Y("low:Q", title=ylabel, scale=scale),
        y2=alt.Y2("high:Q"),
        opacity=alt.condition(picked, alt.value(0.1), alt.value(0)),
    )
    line = base.mark_line(clip=True, point={"size": 10}).encode(
        y=alt.Y("mean:Q", title=ylabel, scale=scale),
        strokeDash=alt.StrokeDash("strategy:N", scale=dashed, legend=legend),
        opacity=alt.condition(picked, alt.value(1), alt.value(0.1)),
    )
    zero = alt.Chart(alt.Data(values=[{"y": 0}])).mark_rule(opacity=0.25).encode(y=alt.Y("y:Q"))
    rings = [
        {"x": round(x, 2), "mean": point["mean"], "strategy": row}
        for row, costs in (marked or {}).items()
        for x in costs
        for point in points
        if (point["strategy"], point["x"]) == (row, round(x, 2))
    ]
    ring = alt.Chart(alt.Data(values=rings)).mark_point(size=120, strokeWidth=2)
    ring = ring.encode(x=alt.X("x:Q"), y=alt.Y("mean:Q"), color=alt.Color("strategy:N"))
    extra = [*[zero] * differences, *[ring] * bool(rings)]
    chart = alt.layer(area, line.add_params(picked), *extra)
    return chart.properties(height=320, datasets={"points": points})


def _points(row: str, band: Band) -> list[dict[str, str | float]]:
    """Points of a curve in percent, with the last one."""
    step = -(-len(band.x) // MAX_POINTS)
    columns = {"x": band.x, "mean": 100 * band.middle}
    if band.half is not None:
        columns["low"] = 100 * (band.middle - band.half)
        columns["high"] = 100 * (band.middle + band.half)
    shown = [values[::-step][::-1].round(2).tolist() for values in columns.values()]
    about: dict[str, str | float] = {"strategy": row, "n": band.seeds}
    return [about | dict(zip(columns, point, strict=True)) for point in zip(*shown, strict=True)]
