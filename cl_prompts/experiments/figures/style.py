"""Theme of all charts, and their output as specifications and figures for papers."""

import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import altair as alt
import numpy as np
import vl_convert

from cl_prompts.experiments.results.history import Floats

#: a chart of Altair, alone or in layers
Chart: TypeAlias = Any
#: title of an axis, and the names on it
Axis = tuple[str, Sequence[str]]

#: Okabe and Ito's colour-blind safe colours without yellow, then Tol's; then those of dark pages
_ON_LIGHT = "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #111111 #882255 #999933 #332288"
_ON_DARK = "#3D9BE0 #F0783C #1FBF92 #DE9BC2 #F2B134 #8FD3FF #F4F6F8 #CB5C90 #BDBD5A #9384E8"
PALETTE = tuple(_ON_LIGHT.split())
#: shades of heat maps, on which black numbers are legible
_SHADES = ("#F4F8FC", "#56B4E9")
#: cells up to which a chart prints their numbers
MAX_WRITTEN = 250
#: columns of a heat map; of more, every second, third, ... is drawn
_MAX_COLUMNS = 120
Format = Literal["pdf", "svg", "png"]
_COLUMN = 245  # width of a figure in points, 3.4 inches


def theme(*, dark: bool = False, size: int = 11) -> dict[str, Any]:
    """Return the Vega-Lite configuration of all charts, with letters of a size in pixels."""
    ink, faint = ("#D3D9DF", "#3A424B") if dark else ("#333333", "#D9D9D9")
    labels: dict[str, object] = {"labelColor": ink, "titleColor": ink, "titleFontWeight": "normal"}
    labels |= {"labelFontSize": size, "titleFontSize": size + 1}
    return {
        "background": "transparent" if dark else "white",
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {**labels, "gridColor": faint, "domainColor": "#999999", "tickColor": "#999999"},
        "legend": {**labels, "symbolStrokeWidth": 2.5},
        "text": {"color": ink, "fontSize": size - 1},
        "rule": {"color": ink},
        "range": {"category": (_ON_DARK if dark else _ON_LIGHT).split()},
    }


def spec(chart: Chart, alt_text: str) -> dict[str, object]:
    """Return the Vega-Lite specification for a page; the page adds the theme."""
    found = chart.to_dict(validate=False)  # a test validates, which takes most of the time
    del found["config"]  # Altair's own default
    return {"width": "container", "description": alt_text, **found}


def figure(chart: Chart, form: Format) -> bytes:
    """Render a chart as a figure of one column's width, 3.4 inches.

    Args:
        chart: the chart.
        form: "pdf", "svg" or "png" (300 dots per inch).
    """
    config = theme(size=7)
    config["legend"] |= {"orient": "bottom", "offset": 6, "gradientLength": 100}
    config["legend"] |= {"gradientThickness": 6, "padding": 0, "symbolStrokeWidth": 1.2}
    config["axis"] |= {"labelOverlap": True, "labelSeparation": 4}
    config |= {"line": {"strokeWidth": 1.2}, "padding": 1}
    # The height in proportion to the letters.
    size = {"width": _COLUMN, "height": 7 / 11 * chart.height}
    fit = {"type": "fit-x", "contains": "padding"}
    found = {**chart.to_dict(validate=False), **size, "autosize": fit, "config": config}
    if form == "pdf":
        return vl_convert.vegalite_to_pdf(found)
    if form == "png":
        return vl_convert.vegalite_to_png(found, ppi=300)
    svg = vl_convert.vegalite_to_svg(found)
    # The sizes of a specification are those of a paper: points.
    return re.sub(r'(width|height)="([\d.]+)"', r'\1="\2pt"', svg, count=2).encode()


def named(names: Sequence[object] | None, count: int) -> list[str]:
    """Return names, or numbers without names; control characters, at which vl-convert aborts the
    process, become question marks.

    >>> named(["a\\tb"], 1), named(None, 2)
    (['a?b'], ['0', '1'])
    """
    texts = map(str, names or range(count))
    return ["".join(sign if sign.isprintable() else "?" for sign in text) for text in texts]


def _axis(kind: type[alt.X] | type[alt.Y], field: str, about: Axis) -> object:
    """Axis of names in their order."""
    title, names = about
    # Beside a few rows, a vertical title would be longer than the plot.
    above: dict[str, object] = {}
    if kind is alt.Y:
        above = {"titleAngle": 0, "titleX": 0, "titleY": -8}
        above |= {"titleAlign": "left", "titleBaseline": "bottom"}
    labels = alt.Axis(labelLimit=140, labelAngle=0, labelOverlap=True, **above)
    return kind(f"{field}:N", title=title, axis=labels, scale=alt.Scale(domain=list(names)))


def heat_map(
    values: Floats, measure: str, *, x: Axis, y: Axis, domain: Sequence[float] = (0, 100)
) -> Chart:
    """Draw a matrix, with numbers in its cells where there is room; NaN is blank.

    Args:
        values: (rows, columns).
        measure: name of the values.
        x, y: the axes, with the names of the columns and rows.
        domain: range of the values.
    """
    step = -(-values.shape[1] // _MAX_COLUMNS)
    kept = np.arange(values.shape[1])[::-step][::-1]  # with the last one
    shown = [x[1][i] for i in kept]
    # A list for each row makes a shorter page than an entry for each cell.
    lists = [
        {"y": name, "x": shown, "value": [None if np.isnan(v) else round(v, 2) for v in row]}
        for name, row in zip(y[1], values[:, kept].tolist(), strict=True)
    ]
    tips = [alt.Tooltip("y:N"), alt.Tooltip("x:N"), alt.Tooltip("value:Q", title=measure)]
    base = (
        alt.Chart(alt.Data(values=lists))
        .transform_flatten(["x", "value"])
        .transform_filter("isValid(datum.value)")
        .encode(x=_axis(alt.X, "x", (x[0], shown)), y=_axis(alt.Y, "y", y), tooltip=tips)
        .properties(height=min(480, max(60, 20 * len(values))))
    )
    colours = alt.Scale(range=_SHADES, domain=domain, interpolate="rgb")
    drawn: Chart = base.mark_rect().encode(color=alt.Color("value:Q", title=measure, scale=colours))
    if values.size <= MAX_WRITTEN:
        text = alt.Text("value:Q", format=".0f")
        drawn = drawn + base.mark_text(color="black").encode(text=text)
    return drawn
