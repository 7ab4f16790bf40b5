"""Figures of diagnostics: prompt usage, key similarity, content of the replay buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from cl_prompts.experiments.figures.style import (
    GROUND,
    HALF,
    INK,
    MISSING,
    WIDTH,
    accuracy_map,
    canvas,
    colour_bar,
    drawing,
    finish,
    new_figure,
    percents,
    short,
    task_ticks,
    write_cells,
)
from cl_prompts.experiments.results.series import Floats

_MAX_CELLS = 20  # rows or columns up to which numbers are written into cells
_MAX_LEGEND = 20  # classes up to which a legend names them


@drawing()
def usage_figure(counts: ArrayLike, entropy: ArrayLike) -> Figure:
    """Share of each prompt in the selections of each task, and the entropy of these shares.

    The dashed line is the entropy of uniform usage.

    Args:
        counts: (tasks, prompts) uses during each task (not cumulative).
        entropy: (tasks,) entropy of their shares in bits; NaN for a task without any, drawn grey.
    """
    values = np.asarray(counts, float)
    bits = np.asarray(entropy, float)
    n_tasks, n_prompts = values.shape
    total = values.sum(1, keepdims=True)
    # A task in which no prompt was used has no shares.
    share = np.divide(values, total, out=np.full_like(values, np.nan), where=total > 0)
    height = float(np.clip(0.34 * n_tasks, 1.5, 5.5))
    figure = canvas(WIDTH, height + 1.0)
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [3.4, 1]})
    top = max(float(np.nanmax(100 * share, initial=0.0)), 1.0)
    image = left.imshow(
        100 * share, cmap=accuracy_map(), vmin=0, vmax=top, aspect="auto", interpolation="nearest"
    )
    if n_prompts <= _MAX_CELLS and n_tasks <= _MAX_CELLS:
        write_cells(left, share, percents, dark=lambda v: 100 * v < 0.6 * top, size=8)
    left.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
    task_ticks(left.yaxis, n_tasks)
    finish(left, xlabel="prompt", ylabel="task", ground=MISSING)
    colour_bar(figure, image, left, "share of uses (%)")
    _entropy_bars(right, bits, n_prompts)
    return figure


def _entropy_bars(axes: Any, bits: Floats, n_prompts: int) -> None:
    known = np.flatnonzero(~np.isnan(bits))
    axes.barh(known, bits[known], height=0.66, color="#0072B2", alpha=0.45)
    highest = float(np.log2(n_prompts)) if n_prompts > 1 else 1.0
    axes.axvline(highest, color=INK, linewidth=1, linestyle="--")
    if len(bits) <= _MAX_CELLS:
        for t in known:
            axes.text(0.03 * highest, t, f"{bits[t]:.2f}", va="center", fontsize=9, color=INK)
    axes.set_xlim(0, 1.08 * highest)
    axes.tick_params(axis="y", length=0, labelleft=False)
    finish(axes, xlabel="entropy (bits)", grid="x")


@drawing()
def key_figure(similarity: ArrayLike) -> Figure:
    """Similarity of the keys of a pool.

    Args:
        similarity: (prompts, prompts) cosines between keys, -1 to 1; values near 0 are not
            written out.
    """
    values = np.asarray(similarity, float)
    n = len(values)
    figure, axes = new_figure(HALF, HALF - 1)
    image = axes.imshow(
        values,
        # Undefined cosines show the ground.
        cmap=colormaps["RdBu_r"].with_extremes(bad=(0, 0, 0, 0)),
        vmin=-1,
        vmax=1,
        interpolation="nearest",
    )
    if n <= _MAX_CELLS // 2:
        write_cells(axes, values, _tenths, dark=lambda v: abs(v) > 0.65, size=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    finish(axes, xlabel="prompt", ylabel="prompt", ground=MISSING)
    colour_bar(figure, image, axes, "cosine between keys")
    return figure


def _tenths(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 0.05 else ""


@drawing()
def buffer_figure(
    counts: ArrayLike, class_names: Sequence[str] | None = None, *, unit: str = "samples"
) -> Figure:
    """Content of the replay buffer at the end of each task: stacked, one shade per class.

    Args:
        counts: (tasks, classes) held at the end of each task.
        class_names: names of all classes, by default their numbers; written where at most 20
            classes were ever held.
        unit: unit of ``counts``: "samples", or "labels" where an image can have several.
    """
    values = np.asarray(counts, float)
    n_tasks, n_classes = values.shape
    names = class_names or [str(c) for c in range(n_classes)]
    held = np.flatnonzero(values.any(0))
    # Classes held first are at the bottom.
    order = held[np.argsort((values[:, held] > 0).argmax(0), kind="stable")]
    shades = colormaps["viridis"](np.linspace(0.05, 0.95, max(len(order), 1)))
    figure, axes = new_figure(WIDTH, 3.6)
    # One polygon per class: bars of many classes are very slow to draw.
    # The last value twice: every step needs a right edge.
    steps = np.concatenate([values, values[-1:]])[:, order].T
    edges = np.arange(n_tasks + 1) - 0.5
    if len(order):
        axes.stackplot(
            edges,
            steps,
            colors=list(shades),
            labels=[short(names[c]) for c in order],
            step="post",
            linewidth=0,
        )
    for edge in edges[1:-1]:
        axes.axvline(edge, color=GROUND, linewidth=2 if n_tasks <= _MAX_CELLS else 0.5)
    if n_tasks <= 12:
        _write_counts(axes, values[:, order], shades)
    if 0 < len(order) <= _MAX_LEGEND:
        handles, labels = axes.get_legend_handles_labels()
        legend = figure.legend(
            # From the top, as the stack is.
            handles[::-1],
            labels[::-1],
            loc="outside right upper",
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            ncols=1 if len(order) <= 12 else 2,
        )
        for text in legend.get_texts():
            # Names may hold dollar signs, between which matplotlib would typeset formulas.
            text.set_parse_math(False)
    task_ticks(axes.xaxis, n_tasks)
    axes.set_xlim(-0.5, n_tasks - 0.5)
    axes.set_ylim(0, max(float(values.sum(1).max(initial=0.0)), 1.0))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes, xlabel="after task", ylabel=f"{unit} held")
    return figure


def _write_counts(axes: Any, values: Floats, shades: Floats) -> None:
    """Write counts into those parts of the stacks that have room for them."""
    middles = values.cumsum(axis=1) - values / 2
    for (t, c), value in np.ndenumerate(values):
        if value > 0.05 * values.sum(axis=1).max():
            # By the brightness that the eye gives to red, green and blue.
            ink = "white" if float(np.dot(shades[c, :3], (0.3, 0.6, 0.1))) < 0.55 else "black"
            axes.text(
                t, middles[t, c], f"{value:.0f}", ha="center", va="center", fontsize=8, color=ink
            )
