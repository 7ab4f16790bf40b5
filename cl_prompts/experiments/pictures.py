"""The figures of TensorBoard and of the report, drawn with matplotlib's object interface: no
pyplot, no global state.

Every function takes plain numbers and returns a ``matplotlib.figure.Figure`` that nobody else
holds. Accuracies come in as fractions, 0 to 1, and are drawn in percent; NaN means "not measured"
and is drawn grey.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from cl_prompts.experiments.picture_style import (
    FAINT,
    INK,
    LINES,
    MAX_NAMED_ROWS,
    MISSING,
    PALETTE,
    Curve,
    Floats,
    accuracy_map,
    canvas,
    colour_bar,
    draw_curves,
    draw_forgetting_maps,
    finish,
    new_figure,
    short,
    task_ticks,
)

_KINDS = {"disjoint": "#0072B2", "blurry": "#D55E00", "other": "#666666"}
_DPI = 144


def png_bytes(figure: Figure) -> bytes:
    """``figure`` as a PNG file at 144 dots per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    return buffer.getvalue()


def strategy_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """One colour and line style per name, in alphabetical order; after ten colours the next line
    style begins."""
    return {
        name: {
            "color": PALETTE[i % len(PALETTE)],
            "linestyle": LINES[i // len(PALETTE) % len(LINES)],
        }
        for i, name in enumerate(sorted(set(names)))
    }


def curve_figure(
    curves: Mapping[str, Sequence[Curve]],
    task_ends: Sequence[int] | None = None,
    *,
    references: Mapping[str, float] | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    measure: str = "accuracy",
) -> Figure:
    """Anytime accuracy over samples seen: mean over seeds, a band of one sample standard deviation,
    single seeds thin.

    Args:
        curves: per strategy one curve of (samples seen, accuracy 0..1) for each seed. Seeds
            measured at different points are interpolated linearly onto all their points, within the
            range that all of them cover.
        task_ends: samples seen at the end of each task, drawn as vertical lines; leave it out where
            seeds differ in it.
        references: strategies that have no curve, as an accuracy 0..1 each, drawn as a dotted
            horizontal line.
        styles: line style of each strategy; default ``strategy_styles`` of the names given.
        measure: what the curves show, "accuracy" or "mAP".
    """
    figure, axes = new_figure(9.6, 4.6)
    for end in sorted(set(task_ends or ())):
        axes.axvline(end, color=FAINT, linewidth=1, zorder=0)
    references = references or {}
    draw_curves(axes, curves, references, styles or strategy_styles([*curves, *references]))
    axes.set_xlim(left=0)
    axes.margins(x=0)
    finish(
        axes,
        xlabel="samples seen (images)",
        ylabel=f"anytime {measure} over seen classes (%)",
        grid="y",
    )
    return figure


def stream_figure(
    stream: Mapping[str, Any], class_names: Sequence[str] | None = None, *, unit: str = "samples"
) -> Figure:
    """Who sees which class when: classes over tasks, disjoint and blurry ones told apart, samples
    per task above.

    Args:
        stream: what ``Split.to_json()`` holds: ``counts`` (n_tasks x n_classes samples),
            ``disjoint_classes`` and ``blurry_classes`` (one list of classes per task).
        class_names: names of all classes; default their numbers. Names are written for at most 40
            classes.
        unit: what ``counts`` counts; "labels" where an image can have several.
    """
    counts = np.asarray(stream["counts"], float)
    n_tasks, n_classes = counts.shape
    rows, kinds = _stream_rows(stream, counts)
    names = class_names or [str(c) for c in range(n_classes)]
    width = float(np.clip(3.4 + 0.8 * n_tasks, 7, 9.6))
    height = float(np.clip(0.27 * len(rows), 2.2, 5.6))
    figure = canvas(width, height + 2.3)
    bars, matrix = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1.2, height]})
    _stream_bars(bars, counts, rows, kinds, unit)
    share = counts[:, rows].T / np.maximum(counts[:, rows].sum(0), 1)[:, None]
    strength = np.where(share > 0, 0.18 + 0.82 * share, 0.0)[..., None]
    base = np.array([to_rgb(_KINDS[k]) for k in kinds]).reshape(-1, 1, 3)
    matrix.imshow(1 - strength * (1 - base), aspect="auto", interpolation="nearest")
    if len(rows) <= 20 and n_tasks <= 12:
        cells = [
            (t, r, f"{counts[t, c]:.0f}", strength[r, t, 0])
            for r, c in enumerate(rows)
            for t in range(n_tasks)
        ]
        for t, r, text, depth in cells:
            if text != "0":
                matrix.text(
                    t,
                    r,
                    text,
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if depth > 0.5 else INK,
                )
    _stream_row_labels(matrix, [short(names[c]) for c in rows], kinds)
    task_ticks(matrix.xaxis, n_tasks)
    finish(matrix, xlabel="task", ylabel="class")
    absent = n_classes - len(rows)
    note = f"darker: larger share of the class's {unit}" + (
        f"; {absent} class{'es' * (absent > 1)} not in the stream" if absent else ""
    )
    handles = [
        Patch(color=_KINDS[k], label=f"{k} classes ({kinds.count(k)})")
        for k in _KINDS
        if k in kinds
    ]
    handles.append(Patch(alpha=0, label=note))
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=4,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    return figure


def class_heatmap_figure(
    x: ArrayLike,
    matrix: ArrayLike,
    class_names: Sequence[str] | None = None,
    task_ends: Sequence[int] | None = None,
    *,
    measure: str = "class accuracy",
) -> Figure:
    """Accuracy of each class over samples seen; classes in the order in which they were first seen,
    unseen ones grey.

    Args:
        x: (points,) samples seen, increasing.
        matrix: (classes, points) accuracies 0..1, NaN before a class is seen.
        class_names: names of the rows of ``matrix``; written for at most 40 classes.
        task_ends: samples seen at the end of each task, drawn as white lines.
        measure: what ``matrix`` holds, "class accuracy" or "average precision".
    """
    points, values = np.asarray(x, float), np.asarray(matrix, float)
    known = ~np.isnan(values)
    order = np.argsort(np.where(known.any(1), known.argmax(1), values.shape[1]), kind="stable")
    names = [short(class_names[c] if class_names else str(c)) for c in order]
    figure, axes = new_figure(9.6, float(np.clip(0.22 * len(order) + 1.1, 2.6, 5.6)))
    middles = (points[1:] + points[:-1]) / 2
    # A value is drawn half-way to its neighbours, the first as far back as forward.
    start = max(0.0, 2 * points[0] - middles[0]) if len(middles) else 0.0
    edges = np.concatenate([[start], middles, [points[-1]]])
    image = axes.pcolormesh(
        edges,
        np.arange(len(order) + 1) - 0.5,
        100 * values[order],
        cmap=accuracy_map(),
        vmin=0,
        vmax=100,
    )
    for end in sorted(set(task_ends or ())):
        if end < edges[-1]:
            axes.axvline(end, color="white", linewidth=1.2)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_facecolor(MISSING)
    if len(names) <= MAX_NAMED_ROWS:
        axes.set_yticks(range(len(names)), names, parse_math=False)
    else:
        axes.set_yticks([])
    finish(axes, xlabel="samples seen (images)", ylabel=f"{len(names)} classes, first seen on top")
    colour_bar(figure, image, axes, f"{measure} (%)")
    return figure


def task_heatmap_figure(matrix: ArrayLike, *, measure: str = "accuracy") -> Figure:
    """Accuracy of each task's classes after every task, and what was forgotten of it in the end.

    Args:
        matrix: (tasks, tasks) accuracies 0..1, ``matrix[i, t]`` on the classes that first appeared
            in task i, measured after task t; NaN where not measured (t < i, or a task without new
            classes).
        measure: what ``matrix`` holds, "accuracy" or "mAP".

    The right column is ``max over t < T-1 of matrix[i, t]`` minus ``matrix[i, T-1]``; negative
    means improved since.
    """
    values = np.asarray(matrix, float)
    n_tasks = len(values)
    lost = forgetting_per_task(values)
    size = float(np.clip(0.5 * n_tasks, 2.4, 5.6))
    figure = canvas(size * 1.45 + 2.6, size + 0.9)
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [n_tasks, 1]})
    image = draw_forgetting_maps(
        left, right, values, lost, origin="lower", cells=n_tasks <= 12, losses=n_tasks <= 20
    )
    task_ticks(left.xaxis, n_tasks)
    task_ticks(left.yaxis, n_tasks)
    right.tick_params(axis="y", length=0)
    finish(left, xlabel="measured after task", ylabel="classes first seen in task")
    finish(right)
    colour_bar(figure, image, [left, right], f"{measure} (%)")
    return figure


def forgetting_per_task(matrix: ArrayLike) -> Floats:
    """(tasks,) best accuracy at an earlier task end minus the final one, NaN where there is no
    earlier one."""
    values = np.asarray(matrix, float)
    earlier = np.where(np.isnan(values[:, :-1]), -np.inf, values[:, :-1]).max(1, initial=-np.inf)
    return np.where(np.isinf(earlier), np.nan, earlier) - values[:, -1]


def _stream_rows(stream: Mapping[str, Any], counts: Floats) -> tuple[list[int], list[str]]:
    """Classes that occur, disjoint first, each kind in the order of its tasks; and the kind of
    each."""
    rows: list[int] = []
    kinds: list[str] = []
    for kind in ("disjoint", "blurry"):
        found = [
            c
            for task in stream.get(f"{kind}_classes", ())
            for c in task
            if counts[:, c].any() and c not in rows
        ]
        rows += found
        kinds += [kind] * len(found)
    rest = [int(c) for c in np.flatnonzero(counts.any(0)) if c not in rows]
    return rows + rest, kinds + ["other"] * len(rest)


def _stream_bars(axes: Any, counts: Floats, rows: list[int], kinds: list[str], unit: str) -> None:
    total = counts.sum(1)
    bottom = np.zeros(len(counts))
    for kind, colour in _KINDS.items():
        part = counts[:, [c for c, k in zip(rows, kinds, strict=True) if k == kind]].sum(1)
        axes.bar(range(len(counts)), part, bottom=bottom, color=colour, width=0.7)
        bottom += part
    if len(total) <= 12:
        for t, value in enumerate(total):
            axes.annotate(
                f"{value:,.0f}",
                (t, value),
                (0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=INK,
            )
    axes.margins(y=0.22)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(axis="x", labelbottom=False, length=0)
    finish(axes, ylabel=unit)


def _stream_row_labels(axes: Any, names: list[str], kinds: list[str]) -> None:
    if len(names) <= MAX_NAMED_ROWS:
        axes.set_yticks(range(len(names)), names, parse_math=False)
        ticks = list(zip(axes.get_yticklabels(), kinds, strict=True))
    else:  # too many to read: name the blocks
        shown = [k for k in _KINDS if k in kinds]
        centres = [kinds.index(k) + (kinds.count(k) - 1) / 2 for k in shown]
        axes.set_yticks(centres, [f"{kinds.count(k)}\n{k}" for k in shown])
        ticks = list(zip(axes.get_yticklabels(), shown, strict=True))
    for label, kind in ticks:
        label.set_color(_KINDS[kind])
