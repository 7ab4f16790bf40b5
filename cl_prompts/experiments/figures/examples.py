"""Test images of multi-label runs with their labels."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from cl_prompts.experiments.figures.style import Chart, named

_MAX_LABELS = 8  # beside an image
_COLUMNS = 3
#: sign and colour of labels that are right, wrongly predicted and missed
_MARKS = {"right": ("✓", "#00876A"), "false": ("✗", "#D0580F"), "missed": ("○", "#808080")}


def example_chart(
    images: ArrayLike,
    truth: ArrayLike,
    predicted: ArrayLike,
    class_names: Sequence[str] | None = None,
) -> Chart:
    """Draw test images, each beside its labels: right, wrongly predicted and missed ones.

    Args:
        images: (n, 3, height, width) uint8.
        truth: (n, classes) bool or 0/1, true labels; 0 for unseen classes.
        predicted: (n, classes) bool or 0/1, predicted labels.
        class_names: names of all classes, by default their numbers.
    """
    true, guessed = np.asarray(truth, bool), np.asarray(predicted, bool)
    names = named(class_names, true.shape[1])
    pictures: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for i, pixels in enumerate(np.asarray(images, np.uint8).transpose(0, 2, 3, 1)):
        row, column = divmod(i, _COLUMNS)
        pictures.append({"x": column, "y": row, "url": _data_url(pixels)})
        for line, label in enumerate(_labels(true[i], guessed[i], names)):
            labels.append({"x": column + 0.42, "y": row + 0.11 * line, **label})
    rows = -(-len(pictures) // _COLUMNS)
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, _COLUMNS]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[rows, 0]))
    colours = alt.Scale(domain=list(_MARKS), range=[colour for _, colour in _MARKS.values()])
    image = {"width": 92, "height": 92, "align": "left", "baseline": "top"}
    text = {"align": "left", "baseline": "top", "limit": 125}
    shown = alt.Chart(alt.Data(values=pictures)).mark_image(**image).encode(x=x, y=y, url="url:N")
    written = (
        alt.Chart(alt.Data(values=labels))
        .mark_text(**text)
        .encode(x=x, y=y, text="text:N", color=alt.Color("kind:N", title="label", scale=colours))
    )
    # A fixed width, in which the labels have room beside the images.
    return (shown + written).properties(width=700, height=112 * rows)


def _data_url(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _labels(true: np.ndarray, guessed: np.ndarray, names: Sequence[str]) -> list[dict[str, str]]:
    """One line per label, at most eight."""
    which = {"right": true & guessed, "false": guessed & ~true, "missed": true & ~guessed}
    found = [
        {"text": f"{_MARKS[kind][0]} {names[c]}", "kind": kind}
        for kind, chosen in which.items()
        for c in np.flatnonzero(chosen).tolist()
    ]
    left = len(found) - _MAX_LABELS
    if left > 0:
        found = [*found[:_MAX_LABELS], {"text": f"and {left} more", "kind": "missed"}]
    return found or [{"text": "no label", "kind": "missed"}]
