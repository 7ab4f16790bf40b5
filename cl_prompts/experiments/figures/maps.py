"""Heat maps of classes, tasks, streams, prompts and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import ArrayLike

from cl_prompts.experiments.figures.style import PALETTE, Chart, axis, heat_map, named
from cl_prompts.experiments.results.history import Floats, first_seen, usage_entropy

_KINDS = {"disjoint": PALETTE[0], "blurry": PALETTE[1], "other": "#888888"}


def class_chart(
    points: Sequence[int],
    matrix: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    measure: str,
) -> Chart:
    """Draw the value of each class over samples seen, classes sorted by their first sample.

    Args:
        points: (points,) samples seen, increasing.
        matrix: (classes, points) values 0..1, NaN before a class is seen.
        class_names: names of the rows of ``matrix``.
        measure: name of the values.
    """
    values = 100 * np.asarray(matrix, float)
    names = named(class_names, len(values))
    order = first_seen(values)
    return heat_map(
        values[order],
        f"{measure} (%)",
        x=("samples seen (images)", [f"{point:,}" for point in points]),
        y=(f"{len(order)} classes, first seen on top", [names[c] for c in order]),
    )


def task_chart(matrix: ArrayLike, *, measure: str, rows: str, names: Sequence[str] = ()) -> Chart:
    """Draw the value on each task after every task, and its final forgetting.

    Args:
        matrix: (tasks, tasks) values 0..1, ``matrix[i, t]`` on the classes that first appeared in
            task i, measured after task t; NaN where not measured.
        measure: "accuracy" or "mAP".
        rows: meaning of its rows.
        names: names of the rows, by default their numbers.
    """
    values = 100 * np.asarray(matrix, float)
    numbers = [str(t + 1) for t in range(len(values))]
    lost = [
        f"{name}  (forgets {loss:.0f})" if not np.isnan(loss) else name
        for name, loss in zip(named(names or numbers, 0), forgetting_per_task(values), strict=True)
    ]
    x, y = ("measured after task", numbers), (f"{rows}, and its final forgetting", lost)
    return heat_map(values, f"{measure} (%)", x=x, y=y)


def forgetting_per_task(matrix: ArrayLike) -> Floats:
    """Subtract the final value from the best one at an earlier task end, (rows, tasks) -> (rows,).

    NaN without an earlier value.
    """
    values = np.asarray(matrix, float)
    # max over t < T - 1 of m[i, t], minus m[i, T - 1]; fmax leaves NaN out
    return np.fmax.reduce(values[:, :-1], axis=1, initial=np.nan) - values[:, -1]


def usage_chart(counts: ArrayLike) -> Chart:
    """Draw the share of each prompt in the selections of each task, and the entropy of the shares.

    Args:
        counts: (tasks, prompts) selections during each task (not cumulative).
    """
    values = np.asarray(counts, float)
    with np.errstate(invalid="ignore"):  # of a task without selections
        share = 100 * values / values.sum(1, keepdims=True)
    rows = [f"{t}  ({bits:.2f})" for t, bits in enumerate(usage_entropy(values), start=1)]
    return heat_map(
        share,
        "share of uses (%)",
        x=("prompt", named(None, values.shape[1])),
        y=("task (entropy in bits)", rows),
        domain=(0, float(np.nanmax(share, initial=1))),
    )


def key_chart(similarity: ArrayLike) -> Chart:
    """Draw the cosines between the keys of a pool, (prompts, prompts)."""
    values = np.asarray(similarity, float)
    prompts = ("prompt", named(None, len(values)))
    look: Any = {"domain": (1, -1), "scheme": "redblue", "digits": 1}
    return heat_map(values, "cosine between keys", x=prompts, y=prompts, **look)


def stream_chart(stream: Mapping[str, Any], class_names: Sequence[str] | None = None) -> Chart:
    """Draw classes over tasks, disjoint and blurry ones in different colours.

    A multi-label stream without blurry classes has the annotated classes of a task as disjoint.

    Args:
        stream: fields of a split's ``plain()``: ``counts`` (n_tasks x n_classes samples, or
            labels where an image may have several), ``disjoint_classes`` and ``blurry_classes``
            (one list of classes per task), of a multi-label split in ``anchors``.
        class_names: names of all classes, by default their numbers.
    """
    counts = np.asarray(stream["counts"])
    unit = "labels" if "anchors" in stream else "samples"
    kinds = _kinds_of(stream, counts)
    names = named(class_names, counts.shape[1])
    tasks = [f"{t + 1}  ({total:,})" for t, total in enumerate(counts.sum(1).tolist())]
    cells = [
        {"x": tasks[t], "y": names[c], "kind": kind, "n": n, "share": n / counts[:, c].sum()}
        for c, kind in kinds.items()
        for t, n in enumerate(counts[:, c].tolist())
        if n
    ]
    colours = alt.Scale(domain=list(_KINDS), range=list(_KINDS.values()))
    # The smallest share stays visible.
    strength = alt.Scale(domain=[0, 1], range=[0.2, 1])
    return (
        alt.Chart(alt.Data(values=cells))
        .mark_rect()
        .encode(
            x=axis(alt.X, (f"task ({unit})", tasks)),
            y=axis(alt.Y, ("class", [names[c] for c in kinds])),
            color=alt.Color("kind:N", title="classes", scale=colours),
            opacity=alt.Opacity("share:Q", scale=strength, legend=None),
            tooltip=["y:N", "kind:N", alt.Tooltip("n:Q", title=unit, format=",")],
        )
        .properties(height=min(420, 16 * len(kinds)))
    )


def _kinds_of(stream: Mapping[str, Any], counts: Floats) -> dict[int, str]:
    """Kind of each class that occurs; disjoint classes first, by task."""
    anchors = stream.get("anchors", stream)
    anchors = anchors or {"disjoint_classes": [np.flatnonzero(row).tolist() for row in counts]}
    kinds: dict[int, str] = {}
    for kind in ("disjoint", "blurry"):
        for task in anchors.get(f"{kind}_classes", ()):
            for c in task:
                kinds.setdefault(c, kind)
    present = np.flatnonzero(counts.any(0)).tolist()
    return {c: kinds.get(c, "other") for c in [*kinds, *present] if c in present}
