"""Shared style of all figures: colours, canvases, axes and labels."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context, style
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from cl_prompts.errors import printable

#: Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow that
#: vanishes on white; then Tol's.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#111111",
    "#882255",
    "#999933",
    "#332288",
)
LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1)))
#: appended to the name of a line that is not solid
MARKS = {LINES[1]: "  - -", LINES[2]: "  ···"}
INK = "#333333"
FAINT = "#D9D9D9"
AXIS = "#999999"
MISSING = "#EBEBEB"
#: ground of a picture, for gaps between its parts
GROUND = "#FEFEFE"
#: what these and other colours become on a dark page
_ON_DARK = {
    INK: "#D3D9DF",
    FAINT: "#3A424B",
    AXIS: "#77818B",
    MISSING: "#2B323A",
    GROUND: "#15191E",
    "#0072B2": "#3D9BE0",
    "#D55E00": "#F0783C",
    "#009E73": "#1FBF92",
    "#CC79A7": "#DE9BC2",
    "#E69F00": "#F2B134",
    "#56B4E9": "#8FD3FF",
    "#111111": "#F4F6F8",
    "#882255": "#CB5C90",
    "#999933": "#BDBD5A",
    "#332288": "#9384E8",
    "#666666": "#9AA4AE",
    "#00694B": "#2FBF93",
    "#767676": "#9AA4AE",
    "#C04A00": "#F0783C",
}
#: rows up to which a picture names each of them
MAX_NAMED_ROWS = 40
_DPI = 144
#: of a picture in inches: as wide as the page, or half of it where pictures stand in pairs
WIDTH = 9.6
HALF = 4.8
#: the same on a card of TensorBoard, which is some 400 px wide
CARD = 5.4


@contextmanager
def drawing() -> Iterator[None]:
    """Draw as this package does, whatever a ``matplotlibrc`` says: one in the current folder may be
    data, and may have texts typeset by LaTeX.

    A letter that the font lacks becomes a box. Matplotlib warns of each, with the letter itself,
    which a terminal may take for a command.
    """
    with style.context("default"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s)Glyph .* missing from font")
        yield


def png_bytes(figure: Figure) -> bytes:
    """Render ``figure`` as a PNG file at 144 dots per inch."""
    buffer = io.BytesIO()
    with drawing():
        figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    return buffer.getvalue()


def svg_text(figure: Figure) -> str:
    """Render ``figure`` as an SVG document without a ground, whose colours follow the page's theme.

    Letters are drawn as paths, so that they look alike everywhere.
    """
    buffer = io.StringIO()
    # A fixed salt gives equal pictures equal texts.
    with drawing(), rc_context({"svg.hashsalt": "cl-prompts", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", dpi=_DPI, facecolor="none", metadata={"Date": None})
    # Colours become variables, to which a dark page gives other values.
    names = {light.lower(): f"--c{i}" for i, light in enumerate(_ON_DARK)}
    text = re.sub(
        r"#[0-9a-f]{6}\b",
        lambda match: f"var({names[match[0]]})" if match[0] in names else match[0],
        buffer.getvalue(),
    )
    light = "".join(f"{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"{names[key.lower()]}:{colour};" for key, colour in _ON_DARK.items())
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}</style>"
    start = text.index(">", text.index("<svg")) + 1
    return text[:start] + style + text[start:]


def strategy_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Assign a colour and a line style to each name, in alphabetical order.

    The line style changes after every ten names, when the colours are used up.
    """
    return {
        name: {
            "color": PALETTE[i % len(PALETTE)],
            "linestyle": LINES[i // len(PALETTE) % len(LINES)],
        }
        for i, name in enumerate(sorted(set(names)))
    }


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """Create a figure of ``width`` x ``height`` inches with one pair of axes."""
    figure = canvas(width, height)
    return figure, figure.subplots()


def canvas(width: float, height: float) -> Figure:
    """Create an empty figure of ``width`` x ``height`` inches with a small margin."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))


def finish(
    axes: Any, *, xlabel: str = "", ylabel: str = "", grid: str = "", ground: str = "none"
) -> None:
    """Set axis labels, spines, grid, ground, and thousands separators on sample counts."""
    axes.set_facecolor(ground)
    axes.set_xlabel(xlabel, fontsize=10, color=INK)
    axes.set_ylabel(ylabel, fontsize=10, color=INK)
    axes.tick_params(labelsize=9, color=FAINT, labelcolor=INK, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(AXIS)
    thousands = FuncFormatter(lambda value, _: f"{value:,.0f}")
    if xlabel.startswith("samples"):
        axes.xaxis.set_major_formatter(thousands)
    if ylabel in ("samples", "labels"):
        axes.yaxis.set_major_formatter(thousands)
    if grid:
        axes.grid(axis=grid, color=FAINT, linewidth=0.6)
        # Lines of the grid would else cross the bars.
        axes.set_axisbelow(True)


def task_ticks(axis: Any, n_tasks: int) -> None:
    """Label tasks from 1 on; at most 20 of them."""
    places = range(0, n_tasks, -(-n_tasks // 20))
    axis.set_ticks(places, [str(t + 1) for t in places])


def write_cells(
    axes: Any,
    values: ArrayLike,
    text: Callable[[float], str],
    *,
    dark: Callable[[float], bool],
    size: float = 9,
) -> None:
    """Write values into the cells of a heat map; nothing for NaN and where the text is empty.

    Args:
        axes: with an image of the values.
        values: (rows, columns).
        text: of a value.
        dark: whether the ground of a value asks for white letters.
        size: of the letters, in points.
    """
    for (row, column), value in np.ndenumerate(np.asarray(values, float)):
        if not np.isnan(value) and text(value):
            ink = "white" if dark(value) else "black"
            style = {"ha": "center", "va": "center", "fontsize": size, "color": ink}
            axes.text(column, row, text(value), **style)


def percents(value: float) -> str:
    """A fraction as whole percents."""
    return f"{100 * value:.0f}"


def colour_bar(figure: Figure, image: Any, axes: Any, label: str) -> None:
    """Add a labelled colour bar beside ``axes``."""
    bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=25, pad=0.02)
    bar.set_label(label, fontsize=10, color=INK)
    bar.ax.tick_params(labelsize=9, color=FAINT, labelcolor=INK)
    bar.outline.set_visible(False)


def accuracy_map() -> Any:
    """Colour map of accuracies; the ground shows where there is none."""
    return colormaps["viridis"].with_extremes(bad=(0, 0, 0, 0))


def short(name: str, limit: int = 22) -> str:
    """``name`` cut to ``limit`` characters; what no picture can hold, such as control characters,
    is written as Python escapes it."""
    name = printable(name)
    return name if len(name) <= limit else name[: limit - 1] + "…"
