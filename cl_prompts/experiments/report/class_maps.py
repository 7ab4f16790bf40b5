"""Value of each class over samples seen, as a small image with HTML around it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from cl_prompts.experiments.figures.style import MAX_NAMED_ROWS, short
from cl_prompts.experiments.report.chart import x_ticks
from cl_prompts.experiments.results.series import (
    Floats,
    class_matrix,
    column_edges,
    extremes,
    first_seen,
)
from cl_prompts.experiments.run_folder.runs import Run

View = dict[str, Any]

_MAX_COLUMNS = 480
_LEVELS = 101  # one for each percent
_NOTHING = _LEVELS  # the transparent colour


def class_map(run: Run, alt: str) -> View:
    """Values for the template: the anytime values of each class.

    Args:
        run: with an anytime curve that was written by class.
        alt: alternative text.
    """
    points, values = class_matrix(run)
    order = first_seen(values)
    names = run.summary.get("class_names") or [str(c) for c in range(len(values))]
    edges = column_edges(np.asarray(points, float))
    # The last task ends at the edge of the image.
    ends = [end for end in sorted(set(run.summary["task_ends"][:-1])) if end < edges[-1]]
    named = len(order) <= MAX_NAMED_ROWS
    return {
        "uri": _png(edges, values[order]),
        "alt": alt,
        "names": [short(str(names[c]), 16) for c in order] if named else [],
        "rows": len(order),
        "lines": [f"{100 * end / edges[-1]:.2f}" for end in ends],
        "xticks": [(f"{100 * at / edges[-1]:.2f}", text) for at, text in x_ticks(edges[-1])],
    }


def _png(edges: Floats, values: Floats) -> str:
    """Image of one pixel per class and column, from 0 to the last edge, as an address."""
    # Several pixels for each point, since the samples between two points differ.
    columns = min(_MAX_COLUMNS, 20 * len(edges))
    at = (np.arange(columns) + 0.5) / columns * edges[-1]
    which = np.searchsorted(edges, at, side="right") - 1
    shown = np.where(which < 0, np.nan, values[:, np.clip(which, 0, values.shape[1] - 1)])
    levels = np.where(np.isnan(shown), _NOTHING, np.rint(100 * np.nan_to_num(shown)))
    image = Image.fromarray(levels.astype(np.uint8), mode="P")
    colours = colormaps["viridis"](np.linspace(0, 1, _LEVELS), bytes=True)[:, :3]
    # One colour more than there are levels: that of cells without a value.
    image.putpalette([*colours.ravel().tolist(), 0, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=_NOTHING, optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def in_words(run: Run) -> str:
    """Lowest, highest and mean final value of the image, in words."""
    points, values = class_matrix(run)
    if not points:
        return "no class was measured"
    names = run.summary.get("class_names") or [str(c) for c in range(len(values))]
    final = values[:, -1]
    found = extremes(final)
    if found is None:
        return "no class was measured at the end"
    worst, best = found
    return (
        f"at {points[-1]:,} samples from {100 * final[worst]:.0f} % ({names[worst]}) to"
        f" {100 * final[best]:.0f} % ({names[best]}), mean {100 * np.nanmean(final):.0f} %"
    )
