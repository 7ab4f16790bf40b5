"""Figures of multi-label runs: F1 scores, and test images with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from cl_prompts.experiments.figures.style import (
    INK,
    WIDTH,
    canvas,
    drawing,
    finish,
    short,
    strategy_styles,
)

_MAX_SHARP = 64  # pixels up to which an image is drawn without smoothing
_MAX_IMAGES = 12
_MAX_LINES = 8  # of labels beside an image
# Mark, colour and meaning; marks and brightness differ too, for readers who see no colour.
_RIGHT = ("✓", "#00694B", "right")
_MISSED = ("○", "#767676", "missed")
_FALSE = ("✗", "#C04A00", "wrongly predicted")


@drawing()
def f1_figure(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Figure:
    """Final scores of the strategies side by side: bars are means over seeds, dots single seeds.

    Args:
        scores: for each strategy and measure ("CF1 at 0.8", ...) one value 0..1 per seed. One
            panel per measure, in the order of their first appearance.
        styles: line style of each strategy, of which only the colour is used; default
            ``strategy_styles`` of the names given.
    """
    styles = styles or strategy_styles(scores)
    measures = list(dict.fromkeys(measure for values in scores.values() for measure in values))
    figure = canvas(WIDTH, 0.32 * len(scores) + 1.0)
    panels = figure.subplots(1, max(len(measures), 1), sharex=True, sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, measures, strict=False):
        for row, (name, values) in enumerate(scores.items()):
            seeds = np.asarray([v for v in values.get(measure, ()) if not np.isnan(v)], float)
            if not len(seeds):
                continue
            mean = 100 * seeds.mean()
            axes.barh(row, mean, height=0.66, color=styles[name]["color"], alpha=0.35)
            axes.plot(
                100 * seeds,
                np.full(len(seeds), row),
                ".",
                color=styles[name]["color"],
                markersize=5,
            )
            axes.text(
                max(mean, 100 * seeds.max()) + 3,
                row,
                f"{mean:.1f}",
                va="center",
                fontsize=9,
                color=INK,
            )
        finish(axes, xlabel=f"{measure} (%)", grid="x")
    panels[0].set_yticks(range(len(scores)), [short(name) for name in scores], parse_math=False)
    # The first row is on top.
    panels[0].set_ylim(len(scores) - 0.4, -0.6)
    # Beyond 100 %, for the numbers behind full bars.
    panels[0].set_xlim(0, 118)
    panels[0].set_xticks(range(0, 101, 25))
    return figure


@drawing()
def examples_figure(
    images: ArrayLike,
    truth: ArrayLike,
    predicted: ArrayLike,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Test images, each beside its labels: right, missed and wrongly predicted ones.

    Args:
        images: (n, 3, height, width) uint8; the first 12 are drawn.
        truth: (n, classes) bool or 0/1, true labels; 0 for unseen classes.
        predicted: (n, classes) bool or 0/1, predicted labels.
        class_names: names of all classes, by default their numbers.
    """
    pixels = np.asarray(images, np.uint8)[:_MAX_IMAGES].transpose(0, 2, 3, 1)
    true = np.asarray(truth, bool)
    guessed = np.asarray(predicted, bool)
    names = class_names or [str(c) for c in range(true.shape[1])]
    columns = 3
    rows = max(-(-len(pixels) // columns), 1)
    figure = canvas(WIDTH, 1.62 * rows + 0.45)
    grid = figure.subplots(
        rows, 2 * columns, squeeze=False, gridspec_kw={"width_ratios": [1, 1] * columns}
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for i, pixel in enumerate(pixels):
        row, column = divmod(i, columns)
        smooth = "nearest" if max(pixel.shape[:2]) <= _MAX_SHARP else "antialiased"
        grid[row, 2 * column].imshow(pixel, interpolation=smooth)
        _write_labels(grid[row, 2 * column + 1], true[i], guessed[i], names)
    legend = [
        Line2D([], [], linestyle="", marker=f"${mark}$", color=colour, markersize=8, label=meaning)
        for mark, colour, meaning in (_RIGHT, _MISSED, _FALSE)
    ]
    figure.legend(
        handles=legend, loc="outside upper left", ncols=3, frameon=False, fontsize=9, labelcolor=INK
    )
    return figure


def _write_labels(
    axes: Any, true: NDArray[np.bool_], guessed: NDArray[np.bool_], names: Sequence[str]
) -> None:
    """Write one line per label, at most eight: right, wrongly predicted, then missed ones."""
    kinds = ((true & guessed, _RIGHT), (guessed & ~true, _FALSE), (true & ~guessed, _MISSED))
    lines = [
        (f"{mark} {short(names[int(c)], 17)}", colour)
        for which, (mark, colour, _) in kinds
        for c in np.flatnonzero(which)
    ]
    if len(lines) > _MAX_LINES:
        shown = _MAX_LINES - 1
        lines = [*lines[:shown], (f"and {len(lines) - shown} more", INK)]
    for i, (line, colour) in enumerate(lines or [("no label", _MISSED[1])]):
        text = axes.text(
            0,
            0.97 - 0.125 * i,
            line,
            transform=axes.transAxes,
            va="top",
            fontsize=9,
            color=colour,
            parse_math=False,
        )
        text.set_in_layout(False)  # a long name must not move the images
