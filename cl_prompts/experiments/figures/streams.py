"""The stream of a run as a picture: classes over tasks, with the samples of each task above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from cl_prompts.experiments.figures.style import (
    CARD,
    INK,
    MAX_NAMED_ROWS,
    WIDTH,
    canvas,
    drawing,
    finish,
    short,
    task_ticks,
)
from cl_prompts.experiments.results.series import Floats

_KINDS = {"disjoint": "#0072B2", "blurry": "#D55E00", "other": "#666666"}


@drawing()
def stream_figure(
    stream: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    *,
    unit: str = "samples",
    width: float = WIDTH,
) -> Figure:
    """Classes over tasks, disjoint and blurry ones in different colours; samples per task above.

    Args:
        stream: fields of a split's ``to_json()``: ``counts`` (n_tasks x n_classes samples),
            ``disjoint_classes`` and ``blurry_classes`` (one list of classes per task).
        class_names: names of all classes, by default their numbers; written for at most 40.
        unit: unit of ``counts``: "samples", or "labels" where an image can have several.
        width: of the figure in inches.
    """
    counts = np.asarray(stream["counts"], float)
    n_tasks, n_classes = counts.shape
    rows, kinds = _stream_rows(stream, counts)
    names = class_names or [str(c) for c in range(n_classes)]
    height = float(np.clip(0.27 * len(rows), 2.2, 5.6))
    figure = canvas(width, height + 2.3)
    bars, matrix = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1.2, height]})
    _stream_bars(bars, counts, rows, kinds, unit)
    share = counts[:, rows].T / np.maximum(counts[:, rows].sum(0), 1)[:, None]
    # The smallest share is still to be seen.
    strength = np.where(share > 0, 0.18 + 0.82 * share, 0.0)[..., None]
    base = np.array([to_rgb(_KINDS[k]) for k in kinds]).reshape(-1, 1, 3)
    # The share is the opacity, so that the picture has any ground.
    shades = np.concatenate([np.broadcast_to(base, (*share.shape, 3)), strength], axis=2)
    matrix.imshow(shades, aspect="auto", interpolation="nearest")
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
    finish(matrix, xlabel="task", ylabel="class")
    # Ticks have the colour of their kind, not that of ``finish``.
    _stream_row_labels(matrix, [short(names[c]) for c in rows], kinds)
    task_ticks(matrix.xaxis, n_tasks)
    absent = n_classes - len(rows)
    notes = [f"stronger colour: larger share of the class's {unit}"]
    if absent:
        notes.append(f"{absent} class{'es' * (absent > 1)} not in the stream")
    handles = [
        Patch(color=_KINDS[k], label=f"{k} classes ({kinds.count(k)})")
        for k in _KINDS
        if k in kinds
    ]
    if set(kinds) == {"other"}:
        handles[0].set_label(f"classes ({len(kinds)})")
    # A legend can hold a note as an entry that has no colour.
    handles += [Patch(alpha=0, label=note) for note in notes]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=4 if width > CARD else 1,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    return figure


def _stream_rows(stream: Mapping[str, Any], counts: Floats) -> tuple[list[int], list[str]]:
    """Classes that occur, disjoint ones first, by task; and the kind of each."""
    occurs = np.asarray(counts.any(0))
    kinds: dict[int, str] = {}
    for kind in ("disjoint", "blurry"):
        for task in stream.get(f"{kind}_classes", ()):
            for c in task:
                if occurs[c]:
                    kinds.setdefault(c, kind)
    for c in np.flatnonzero(occurs).tolist():
        kinds.setdefault(c, "other")
    return list(kinds), list(kinds.values())


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
    # Room for the numbers above the bars.
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
