"""The figures of multi-label runs: mAP over tasks, average precision of every class, F1 scores,
test images with labels.

As in ``pictures``: plain numbers in, a ``matplotlib.figure.Figure`` that nobody else holds out,
fractions drawn in percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from cl_prompts.experiments.picture_style import (
    INK,
    canvas,
    colour_bar,
    draw_curves,
    draw_forgetting_maps,
    finish,
    new_figure,
    short,
    task_ticks,
)
from cl_prompts.experiments.pictures import Figure, forgetting_per_task, strategy_styles

_MAX_NAMED = 100
_SMALL = 64  # pixels up to which an image is shown as squares instead of being smoothed
# Mark, colour and meaning; marks and brightness tell them apart without colour.
_RIGHT, _MISSED, _FALSE = (
    ("✓", "#00694B", "right"),
    ("○", "#767676", "missed"),
    ("✗", "#C04A00", "wrongly predicted"),
)


def map_figure(
    curves: Mapping[str, Sequence[Sequence[float]]],
    *,
    references: Mapping[str, float] | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    measure: str = "mAP",
) -> Figure:
    """mAP over the classes seen so far after each task: mean over seeds, a band of one sample
    standard deviation.

    Args:
        curves: per strategy, for each seed the mAP 0..1 after every task; NaN where it is
            undefined.
        references: strategies that are measured at the end only, as a mAP each, drawn as a dotted
            horizontal line.
        styles: line style of each strategy; default ``strategy_styles`` of the names given.
        measure: what the curves show, "mAP" or "accuracy".
    """
    references = references or {}
    points = {
        name: [[(t, m) for t, m in enumerate(seed, 1) if not np.isnan(m)] for seed in seeds]
        for name, seeds in curves.items()
    }
    drawn = {name: [seed for seed in seeds if seed] for name, seeds in points.items() if any(seeds)}
    figure, axes = new_figure(9.6, 4.6)
    draw_curves(
        axes, drawn, references, styles or strategy_styles([*curves, *references]), marker="o"
    )
    n_tasks = max((len(seed) for seeds in curves.values() for seed in seeds), default=1)
    axes.set_xlim(0.9 if n_tasks > 1 else 0.5, n_tasks + (0.1 if n_tasks > 1 else 0.5))
    places = range(1, n_tasks + 1, -(-n_tasks // 20))
    axes.set_xticks(places, [str(t) for t in places])
    finish(axes, xlabel="after task", ylabel=f"{measure} over seen classes (%)", grid="y")
    return figure


def ap_heatmap_figure(
    matrix: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    measure: str = "average precision",
) -> Figure:
    """Average precision of each class after every task, and what was forgotten of it in the end.

    Classes stand in the order in which they were first measured, a white line before those of a
    later task; the right column is the best AP after an earlier task minus the last one, negative
    where the class has improved.

    Args:
        matrix: (classes, tasks) average precisions 0..1, NaN before a class is seen.
        class_names: names of all classes; default their numbers. Names are written for at most 100
            classes.
        measure: what ``matrix`` holds, "average precision" or "accuracy".
    """
    values = np.asarray(matrix, float)
    n_classes, n_tasks = values.shape
    known = ~np.isnan(values)
    first = np.where(known.any(1), known.argmax(1), n_tasks)
    order = np.argsort(first, kind="stable")
    values, first = values[order], first[order]
    lost = forgetting_per_task(values)
    named, roomy = n_classes <= _MAX_NAMED, n_classes <= 40
    size = 9 if roomy else 7
    height = float(np.clip((0.22 if roomy else 0.14) * n_classes, 1.6, 11))
    figure = canvas(float(np.clip(0.6 * n_tasks + 4.2, 5.6, 9.6)), height + 1.0)
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [n_tasks, 1]})
    image = draw_forgetting_maps(
        left,
        right,
        values,
        lost,
        origin="upper",
        cells=named and n_tasks <= 12,
        losses=named,
        size=size,
    )
    for row in np.flatnonzero(np.diff(first)) + 0.5:
        left.axhline(row, color="white", linewidth=1.6)
        right.axhline(row, color="white", linewidth=1.6)
    names = [short(class_names[c] if class_names else str(c)) for c in order] if named else []
    left.set_yticks(range(len(names)), names, parse_math=False)
    task_ticks(left.xaxis, n_tasks)
    finish(left, xlabel="after task", ylabel=f"{n_classes} classes, first seen on top")
    finish(right)
    left.tick_params(axis="y", length=0, labelsize=size)
    right.tick_params(axis="y", length=0)
    colour_bar(figure, image, [left, right], f"{measure} (%)")
    return figure


def f1_figure(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Figure:
    """Final scores of the strategies side by side: bars are means over seeds, dots the seeds.

    Args:
        scores: per strategy and measure ("CF1 at 0.8", "OF1 at 0.8", ...) one value 0..1 for each
            seed. One panel for each measure, in the order of the first strategy that has it.
        styles: line style of each strategy, of which the colour is used; default
            ``strategy_styles`` of the names given.
    """
    styles = styles or strategy_styles(scores)
    measures = list(dict.fromkeys(measure for values in scores.values() for measure in values))
    figure = canvas(9.6, 0.32 * len(scores) + 1.0)
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
    panels[0].set_ylim(len(scores) - 0.4, -0.6)
    panels[0].set_xlim(0, 118)
    panels[0].set_xticks(range(0, 101, 25))
    return figure


def examples_figure(
    images: ArrayLike,
    truth: ArrayLike,
    predicted: ArrayLike,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Test images, each with its labels beside it: predicted rightly, missed, and predicted
    wrongly.

    Args:
        images: (n, 3, height, width) uint8; the first 12 are drawn.
        truth: (n, classes) bool or 0/1, true labels; leave unseen classes 0.
        predicted: (n, classes) bool or 0/1, predicted labels.
        class_names: names of all classes; default their numbers.
    """
    pixels = np.asarray(images, np.uint8)[:12].transpose(0, 2, 3, 1)
    true, guessed = np.asarray(truth, bool), np.asarray(predicted, bool)
    names = class_names or [str(c) for c in range(true.shape[1])]
    columns = 3
    rows = max(-(-len(pixels) // columns), 1)
    figure = canvas(9.6, 1.62 * rows + 0.45)
    grid = figure.subplots(
        rows, 2 * columns, squeeze=False, gridspec_kw={"width_ratios": [1, 1] * columns}
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for i, pixel in enumerate(pixels):
        row, column = divmod(i, columns)
        smooth = "nearest" if max(pixel.shape[:2]) <= _SMALL else "antialiased"
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
    """One line for each label, at most eight: right ones, wrong ones, then missed ones."""
    kinds = ((true & guessed, _RIGHT), (guessed & ~true, _FALSE), (true & ~guessed, _MISSED))
    lines = [
        (f"{mark} {short(names[int(c)], 17)}", colour)
        for which, (mark, colour, _) in kinds
        for c in np.flatnonzero(which)
    ]
    if len(lines) > 8:
        lines = [*lines[:7], (f"and {len(lines) - 7} more", INK)]
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
        text.set_in_layout(False)  # a long name must not push the images about
