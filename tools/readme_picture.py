"""Draw README's picture: three curves of ``make run`` with their bands.

``python tools/readme_picture.py runs/digits`` writes docs/images/curves.png. The letters stay
readable at half the size.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from cl_prompts.experiments.results.aggregates import curves_of, mean_band
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.results.history import curve_of
from cl_prompts.experiments.run_folder.runs import collect

OUT = Path(__file__).parents[1] / "docs" / "images" / "curves.png"
#: row of the table -> name and colour
SHOWN = {
    "recommended": ("recommended", "#009E73"),
    "mvp@whitened": ("MVP with a\nwhitened head", "#0072B2"),
    "mvp": ("MVP", "#D55E00"),
}
HEIGHTS = alt.Scale(domain=[35, 100])


def points(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Mean and band of each shown row over the samples seen, in percent."""
    (group,) = groups(collect([folder]))
    found = {}
    for row, seeds in curves_of(group.rows, curve_of).items():
        band = mean_band([*seeds.values()])
        if row in SHOWN and band is not None and band.half is not None:
            values = zip(band.x, 100 * band.middle, 100 * band.half, strict=True)
            found[row] = [
                {"x": float(x), "mean": m, "low": max(0, m - h), "high": min(100, m + h)}
                for x, m, h in values
            ]
    return found


def curve(values: list[dict[str, Any]], name: str, color: str) -> alt.LayerChart:
    """One curve with its band, and its name at the end."""
    axis = alt.Axis(grid=False, values=[0, 500, 1000, 1442])
    x = alt.X("x:Q", title="images seen", axis=axis, scale=alt.Scale(domain=[0, 1442], nice=False))
    low = alt.Y("low:Q", title="accuracy, %", axis=alt.Axis(tickCount=4), scale=HEIGHTS)
    mean = alt.Y("mean:Q", scale=HEIGHTS)
    base = alt.Chart(alt.Data(values=values)).encode(x=x)
    area = base.mark_area(opacity=0.16, color=color, clip=True).encode(y=low, y2="high:Q")
    line = base.mark_line(color=color, strokeWidth=5, clip=True).encode(y=mean)
    end = alt.Chart(alt.Data(values=values[-1:])).encode(x=x, y=mean, text=alt.value(name))
    look = {"fontSize": 26, "color": color, "fontWeight": "bold", "lineBreak": "\n"}
    return alt.layer(area, line, end.mark_text(align="left", dx=10, **look))


def main(folder: Path) -> None:
    """Write the picture."""
    found = points(folder)
    layers = [curve(found[row], *look) for row, look in SHOWN.items()]
    chart = alt.layer(*layers).properties(width=660, height=340)
    chart = chart.configure_axis(labelFontSize=22, titleFontSize=24, titleFontWeight="normal")
    spec = chart.configure_view(stroke=None).to_dict()
    OUT.write_bytes(vl_convert.vegalite_to_png(spec, ppi=110))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
