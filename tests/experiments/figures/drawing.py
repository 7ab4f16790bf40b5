"""Helpers of the tests of figures."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cl_prompts.experiments.figures.style import png_bytes
from cl_prompts.experiments.results.curves import Band

NAN = float("nan")
#: a name that must not be read as mathematics
MATHEMATICS = r"$\frac{$"


def drawn(figure: Figure) -> np.ndarray:
    """Pixels of the figure, (height, width, 3); any warning on the way is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.asarray(Image.open(io.BytesIO(png_bytes(figure))).convert("RGB"))


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def band(*values: float, half: float | None = None, seeds: int = 2) -> Band:
    """A mean curve at the points 1, 2, ..."""
    middle = np.array(values)
    spread = None if half is None else np.full(len(values), half)
    return Band(np.arange(1.0, len(values) + 1), middle, spread, seeds)


def stream(n_tasks: int, n_classes: int) -> dict[str, Any]:
    """Even classes disjoint, odd ones blurry, class c at home in task c % n_tasks."""
    counts = np.zeros((n_tasks, n_classes), int)
    kinds: dict[str, list[list[int]]] = {"disjoint": [], "blurry": []}
    for classes_by_task in kinds.values():
        classes_by_task += [[] for _ in range(n_tasks)]
    for c in range(n_classes):
        counts[c % n_tasks, c] = 90
        counts[(c + 1) % n_tasks, c] += 10 * (c % 2)
        kinds["blurry" if c % 2 else "disjoint"][c % n_tasks].append(c)
    return {
        "counts": counts.tolist(),
        "disjoint_classes": kinds["disjoint"],
        "blurry_classes": kinds["blurry"],
    }
