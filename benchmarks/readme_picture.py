"""Draw README's picture: three curves of ``make run`` with their bands.

``python benchmarks/readme_picture.py runs/digits`` writes docs/images/curves.png. The letters are
large enough to be read where a page shows the picture at half its size.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from cl_prompts.experiments.results.curves import curves_of, mean_band
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.results.history import curve_of
from cl_prompts.experiments.run_folder.runs import collect

OUT = Path(__file__).parents[1] / "docs" / "images" / "curves.png"
#: row of the table -> name, colour and distance of the name from the end of its curve in pixels
SHOWN = {
    "recommended": ("recommended", "#009E73", -18),
    "mvp@whitened": ("MVP, whitened head", "#0072B2", 22),
    "mvp": ("MVP", "#D55E00", 24),
}


def points(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Mean and band of each shown row over the samples seen, in percent."""
    (group,) = groups(collect([folder]))
    found = {}
    for row, seeds in curves_of(group, curve_of).items():
        band = mean_band(seeds)
        if row in SHOWN and band is not None and band.half is not None:
            values = zip(band.x, 100 * band.middle, 100 * band.half, strict=True)
            found[row] = [
                {"x": float(x), "mean": m, "low": max(0, m - h), "high": min(100, m + h)}
                for x, m, h in values
            ]
    return found


def curve(values: list[dict[str, Any]], name: str, color: str, shift: int) -> alt.LayerChart:
    """One curve with its band, and its name at the end."""
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X("x:Q", title="images seen", scale=alt.Scale(domain=[0, 1450], nice=False))
    )
    y = alt.Y("mean:Q", title="accuracy, %", scale=alt.Scale(domain=[40, 100]))
    area = base.mark_area(opacity=0.18, color=color, clip=True).encode(
        y=alt.Y("low:Q", scale=alt.Scale(domain=[40, 100]), title="accuracy, %"), y2="high:Q"
    )
    line = base.mark_line(color=color, strokeWidth=4, clip=True).encode(y=y)
    end = alt.Chart(alt.Data(values=values[-1:])).encode(x="x:Q", y=y)
    text = end.mark_text(align="right", dy=shift, fontSize=24, color=color, fontWeight="bold")
    return alt.layer(area, line, text.encode(text=alt.value(name)))


def main(folder: Path) -> None:
    """Write the picture."""
    found = points(folder)
    layers = [curve(found[row], *look) for row, look in SHOWN.items()]
    chart = alt.layer(*layers).properties(width=820, height=380)
    chart = chart.configure_axis(labelFontSize=20, titleFontSize=22, titleFontWeight="normal")
    spec = chart.configure_view(stroke=None).to_dict()
    OUT.write_bytes(vl_convert.vegalite_to_png(spec, ppi=144))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
