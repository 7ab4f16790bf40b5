"""What all figures have in common: colours, canvases, axes, curves with bands, labels. No pyplot,
no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Curve = Sequence[tuple[float, float]]

# Okabe and Ito's colours (told apart with any colour vision) without the yellow that vanishes on
# white, then Tol's.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#882255",
    "#999933",
    "#332288",
)
LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1)))
MARKS = {LINES[1]: "  - -", LINES[2]: "  ···"}  # behind the names of lines that are not solid
INK, FAINT, MISSING = "#333333", "#D9D9D9", "#EBEBEB"
MAX_NAMED_ROWS = 40
#: Curves up to which spread is drawn too; bands of more would lie over each other until nothing can
# be read.
MAX_SPREADS = 8


def draw_curves(
    axes: Any,
    curves: Mapping[str, Sequence[Curve]],
    references: Mapping[str, float],
    styles: Mapping[str, Mapping[str, Any]],
    *,
    marker: str | None = None,
) -> None:
    """Mean over seeds, a band of one sample standard deviation, single seeds thin, names at the
    right; sets the y limits.

    More than ``MAX_SPREADS`` curves are drawn as their means alone. ``references`` are dotted
    horizontal lines. Values are fractions, drawn in percent.
    """
    few = len(curves) <= MAX_SPREADS
    labels: list[tuple[float, str, str]] = []
    lowest: float = min(references.values(), default=1.0)
    for name, seeds in curves.items():
        x, mean, std = mean_curve(seeds)
        for seed in seeds if len(seeds) > 1 and few else ():
            axes.plot(
                *(np.asarray(seed, float) * (1, 100)).T, **styles[name], linewidth=0.7, alpha=0.45
            )
        if std is not None and few:
            axes.fill_between(
                x,
                100 * (mean - std),
                100 * (mean + std),
                color=styles[name]["color"],
                alpha=0.15,
                lw=0,
            )
        axes.plot(
            x, 100 * mean, **styles[name], linewidth=2.2, marker="o" if len(x) == 1 else marker
        )
        lowest = min([lowest, *((y for seed in seeds for _, y in seed) if few else mean.tolist())])
        final = float(mean[-1]) if len(mean) else float(np.mean([seed[-1][1] for seed in seeds]))
        labels.append(
            (100 * final, name + MARKS.get(styles[name]["linestyle"], ""), styles[name]["color"])
        )
    for name, value in references.items():
        axes.axhline(100 * value, color=styles[name]["color"], linewidth=1.6, linestyle=":")
        labels.append((100 * value, f"{name}, final", styles[name]["color"]))
    axes.set_ylim(max(0.0, 10 * np.floor((100 * lowest - 4) / 10)), 100)
    label_ends(axes, labels)


def mean_curve(seeds: Sequence[Curve]) -> tuple[Floats, Floats, Floats | None]:
    """Points, mean and sample standard deviation (None for one seed) over the range that all seeds
    cover."""
    arrays = [np.asarray(seed, float) for seed in seeds]
    x = np.unique(np.concatenate([a[:, 0] for a in arrays]))
    x = x[(x >= max(a[0, 0] for a in arrays)) & (x <= min(a[-1, 0] for a in arrays))]
    values = np.array([np.interp(x, a[:, 0], a[:, 1]) for a in arrays])
    return x, values.mean(0), values.std(0, ddof=1) if len(arrays) > 1 else None


def label_ends(axes: Any, labels: list[tuple[float, str, str]]) -> None:
    """Names at the right ends of the lines, moved apart where they would overlap; needs the final y
    limits."""
    low, high = axes.get_ylim()
    gap = 0.05 * (high - low)
    labels = sorted(labels)
    places = [value for value, _, _ in labels]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    ceiling = high
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    for place, (_, name, colour) in zip(places, labels, strict=True):
        where = (1.012, (place - low) / (high - low))
        axes.annotate(
            name,
            where,
            xycoords="axes fraction",
            color=colour,
            va="center",
            fontsize=10,
            parse_math=False,
        )


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = canvas(width, height)
    return figure, figure.subplots()


def canvas(width: float, height: float) -> Figure:
    """An empty figure of so many inches, with a margin that keeps ink off the rim."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))


def finish(axes: Any, *, xlabel: str = "", ylabel: str = "", grid: str = "") -> None:
    """Axis labels, quiet spines, thousands separators on sample counts."""
    axes.set_xlabel(xlabel, fontsize=10, color=INK)
    axes.set_ylabel(ylabel, fontsize=10, color=INK)
    axes.tick_params(labelsize=9, color=FAINT, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    thousands = FuncFormatter(lambda value, _: f"{value:,.0f}")
    if xlabel.startswith("samples"):
        axes.xaxis.set_major_formatter(thousands)
    if ylabel in ("samples", "labels"):
        axes.yaxis.set_major_formatter(thousands)
    if grid:
        axes.grid(axis=grid, color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)


def task_ticks(axis: Any, n_tasks: int) -> None:
    """Tasks counted from 1, every one of them where there is room."""
    places = range(0, n_tasks, -(-n_tasks // 20))
    axis.set_ticks(places, [str(t + 1) for t in places])


def cell(axes: Any, x: float, y: float, value: float, colour: str, size: float = 9) -> None:
    """A fraction as whole percents in a cell of a heat map; nothing for NaN."""
    if not np.isnan(value):
        axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=size, color=colour)


def draw_forgetting_maps(
    left: Any,
    right: Any,
    values: Floats,
    lost: Floats,
    *,
    origin: str,
    cells: bool,
    losses: bool,
    size: float = 9,
) -> Any:
    """A heat map of ``values`` (rows, tasks) beside a column of what was ``lost`` (rows,) of each
    row in the end.

    Args:
        left, right: axes of the two.
        values, lost: fractions; NaN is grey.
        origin: where row 0 is, "lower" or "upper".
        cells, losses: whether numbers are written into the left and the right cells.
        size: of the numbers, in points.

    Returns:
        The left image, for a colour bar.
    """
    image = left.imshow(
        100 * values, cmap=accuracy_map(), vmin=0, vmax=100, origin=origin, aspect="auto"
    )
    limit = max(0.1, float(np.nanmax(np.abs(lost), initial=0.0)))
    drift = colormaps["RdBu_r"].with_extremes(bad=MISSING)
    right.imshow(
        lost[:, None], cmap=drift, vmin=-1.3 * limit, vmax=1.3 * limit, origin=origin, aspect="auto"
    )
    for (i, t), value in np.ndenumerate(values if cells else np.empty((0, 0))):
        cell(left, t, i, value, "white" if value < 0.6 else "black", size)
    for i, value in enumerate(lost if losses else ()):
        cell(right, 0, i, value, "white" if abs(value) > 0.8 * limit else "black", size)
    right.set_xticks([0], ["forgetting\n(points)"])
    return image


def colour_bar(figure: Figure, image: Any, axes: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=25, pad=0.02)
    bar.set_label(label, fontsize=10, color=INK)
    bar.ax.tick_params(labelsize=9, color=FAINT)
    bar.outline.set_visible(False)


def accuracy_map() -> Any:
    return colormaps["viridis"].with_extremes(bad=MISSING)


def short(name: str, limit: int = 22) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
