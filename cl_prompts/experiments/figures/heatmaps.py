"""Heat maps of accuracy: classes over samples seen, classes over tasks, tasks over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cl_prompts.experiments.figures.style import (
    GROUND,
    MAX_NAMED_ROWS,
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
from cl_prompts.experiments.results.series import Floats, column_edges, first_seen

_MAX_NAMED_CLASSES = 100


@drawing()
def class_heatmap_figure(
    x: ArrayLike,
    matrix: ArrayLike,
    class_names: Sequence[str] | None = None,
    task_ends: Sequence[int] | None = None,
    *,
    measure: str = "class accuracy",
    width: float = WIDTH,
) -> Figure:
    """Accuracy of each class over samples seen, classes sorted by when they were first seen.

    Args:
        x: (points,) samples seen, increasing.
        matrix: (classes, points) accuracies 0..1, NaN before a class is seen.
        class_names: names of the rows of ``matrix``; written for at most 40.
        task_ends: samples seen at the end of each task, drawn as lines.
        measure: what ``matrix`` holds, "class accuracy" or "average precision".
        width: of the figure in inches.
    """
    points = np.asarray(x, float)
    values = np.asarray(matrix, float)
    order = first_seen(values)
    names = [short(class_names[c] if class_names else str(c)) for c in order]
    figure, axes = new_figure(width, float(np.clip(0.22 * len(order) + 1.1, 2.6, 5.6)))
    edges = column_edges(points)
    image = axes.pcolormesh(
        edges,
        np.arange(len(order) + 1) - 0.5,
        100 * values[order],
        cmap=accuracy_map(),
        vmin=0,
        vmax=100,
        # One image in an SVG instead of a path for each cell.
        rasterized=True,
    )
    for end in sorted(set(task_ends or ())):
        if end < edges[-1]:
            axes.axvline(end, color=GROUND, linewidth=1.2)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    if len(names) <= MAX_NAMED_ROWS:
        axes.set_yticks(range(len(names)), names, parse_math=False)
    else:
        axes.set_yticks([])
    finish(
        axes,
        xlabel="samples seen (images)",
        ylabel=f"{len(names)} classes, first seen on top",
        ground=MISSING,
    )
    colour_bar(figure, image, axes, f"{measure} (%)")
    return figure


@drawing()
def class_forgetting_figure(
    matrix: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    measure: str = "average precision",
) -> Figure:
    """Accuracy or average precision of each class after every task, and its final forgetting.

    Classes are sorted by when they were first measured; lines separate the tasks. The right
    column is the best value after an earlier task minus the last one, negative where the class
    improved.

    Args:
        matrix: (classes, tasks) values 0..1, NaN before a class is seen.
        class_names: names of all classes, by default their numbers; written for at most 100.
        measure: what ``matrix`` holds, "average precision" or "accuracy".
    """
    values = np.asarray(matrix, float)
    n_classes, n_tasks = values.shape
    order = first_seen(values)
    values = values[order]
    named = n_classes <= _MAX_NAMED_CLASSES
    roomy = n_classes <= MAX_NAMED_ROWS
    size = 9 if roomy else 7
    height = float(np.clip((0.22 if roomy else 0.14) * n_classes, 1.6, 11))
    figure = canvas(WIDTH, height + 1.0)
    left, right = _draw_forgetting(
        figure, values, measure, cells=named and n_tasks <= 12, losses=named, size=size
    )
    known = ~np.isnan(values)
    first = np.where(known.any(1), known.argmax(1), n_tasks)
    for row in np.flatnonzero(np.diff(first)) + 0.5:
        left.axhline(row, color=GROUND, linewidth=1.6)
        right.axhline(row, color=GROUND, linewidth=1.6)
    names = [short(class_names[c] if class_names else str(c)) for c in order] if named else []
    left.set_yticks(range(len(names)), names, parse_math=False)
    finish(
        left, xlabel="after task", ylabel=f"{n_classes} classes, first seen on top", ground=MISSING
    )
    left.tick_params(axis="y", length=0, labelsize=size)
    return figure


@drawing()
def task_heatmap_figure(
    matrix: ArrayLike, *, measure: str = "accuracy", rows: str = "classes first seen in task"
) -> Figure:
    """Accuracy on the classes of each task after every task, and its final forgetting.

    Args:
        matrix: (tasks, tasks) accuracies 0..1, ``matrix[i, t]`` on the classes that first appeared
            in task i, measured after task t; NaN where not measured (t < i, or a task without new
            classes).
        measure: what ``matrix`` holds, "accuracy" or "mAP".
        rows: what its rows stand for.

    The right column is ``max over t < T-1 of matrix[i, t]`` minus ``matrix[i, T-1]``, negative
    where accuracy improved.
    """
    values = np.asarray(matrix, float)
    n_tasks = len(values)
    size = float(np.clip(0.5 * n_tasks, 2.4, 5.6))
    figure = canvas(WIDTH, size + 0.9)
    left, _ = _draw_forgetting(
        figure, values, measure, origin="lower", cells=n_tasks <= 12, losses=n_tasks <= 20
    )
    task_ticks(left.yaxis, n_tasks)
    finish(left, xlabel="measured after task", ylabel=rows, ground=MISSING)
    return figure


def forgetting_per_task(matrix: ArrayLike) -> Floats:
    """Best accuracy at an earlier task end minus the final one, (rows, tasks) -> (rows,).

    NaN where there is no earlier accuracy.
    """
    values = np.asarray(matrix, float)
    # max over t < T - 1 of m[i, t], minus m[i, T - 1]
    earlier = np.where(np.isnan(values[:, :-1]), -np.inf, values[:, :-1]).max(1, initial=-np.inf)
    return np.where(np.isinf(earlier), np.nan, earlier) - values[:, -1]


def _draw_forgetting(
    figure: Figure,
    values: Floats,
    measure: str,
    *,
    origin: Literal["lower", "upper"] = "upper",
    cells: bool,
    losses: bool,
    size: float = 9,
) -> tuple[Any, Any]:
    """Draw a heat map beside a column of final forgetting, with a colour bar.

    Args:
        figure: empty.
        values: (rows, tasks) fractions; NaN is grey.
        measure: name of the values.
        origin: place of row 0.
        cells, losses: write numbers into the left and the right cells.
        size: font size of the numbers, in points.

    Returns:
        Axes of the two.
    """
    n_tasks = values.shape[1]
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [n_tasks, 1]})
    image = left.imshow(
        100 * values, cmap=accuracy_map(), vmin=0, vmax=100, origin=origin, aspect="auto"
    )
    lost = forgetting_per_task(values)
    limit = max(0.1, float(np.nanmax(np.abs(lost), initial=0.0)))
    drift = colormaps["RdBu_r"].with_extremes(bad=(0, 0, 0, 0))
    # Wider than the values, so that numbers never stand on the darkest colours.
    right.imshow(
        lost[:, None], cmap=drift, vmin=-1.3 * limit, vmax=1.3 * limit, origin=origin, aspect="auto"
    )
    if cells:
        write_cells(left, values, percents, dark=lambda value: value < 0.6, size=size)
    if losses:
        strong = 0.8 * limit
        write_cells(right, lost[:, None], percents, dark=lambda v: abs(v) > strong, size=size)
    right.set_xticks([0], ["forgetting\n(points)"])
    right.tick_params(axis="y", length=0)
    finish(right, ground=MISSING)
    task_ticks(left.xaxis, n_tasks)
    colour_bar(figure, image, [left, right], f"{measure} (%)")
    return left, right
