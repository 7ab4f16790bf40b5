"""Heat maps of classes, tasks, streams and prompts."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from cl_prompts.experiments.figures.style import Chart, heat_map, named
from cl_prompts.experiments.results import history
from cl_prompts.experiments.run_folder.runs import RunRecord


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
    order = _by_first(~np.isnan(values))
    return heat_map(
        values[order],
        f"{measure} (%)",
        x=("samples seen (images)", [f"{point:,}" for point in points]),
        y=(f"{len(order)} classes, first seen on top", [names[c] for c in order]),
    )


def _by_first(known: np.ndarray) -> list[int]:
    """Sort rows by their first known column; unknown rows come last."""
    return np.argsort(np.c_[known, ~known.any(1)].argmax(1), kind="stable").tolist()


def task_chart(matrix: ArrayLike, *, measure: str, rows: str, names: Sequence[str] = ()) -> Chart:
    """Draw the value on each task after every task.

    Args:
        matrix: (tasks, tasks) values 0..1, ``matrix[i, t]`` on the classes that first appeared in
            task i, measured after task t; NaN where not measured.
        measure: "accuracy" or "mAP".
        rows: meaning of its rows.
        names: names of the rows, by default their numbers.
    """
    values = 100 * np.asarray(matrix, float)
    numbers = [str(t + 1) for t in range(len(values))]
    x, y = ("measured after task", numbers), (rows, named(names or numbers, 0))
    return heat_map(values, f"{measure} (%)", x=x, y=y)


def usage_chart(counts: ArrayLike) -> Chart:
    """Draw the share of each prompt in the selections of each task.

    Args:
        counts: (tasks, prompts) selections during each task (not cumulative).
    """
    values = np.asarray(counts, float)
    with np.errstate(invalid="ignore"):  # of a task without selections
        share = 100 * values / values.sum(1, keepdims=True)
    x = ("prompt", named(None, values.shape[1]))
    y = ("task", [str(t + 1) for t in range(len(values))])
    most = float(np.nanmax(share, initial=1))
    return heat_map(share, "share of uses (%)", x=x, y=y, domain=(0, most))


def stream_chart(stream: Mapping[str, object], class_names: Sequence[str] | None = None) -> Chart:
    """Draw the share of each class in each task; a disjoint class has all of it in one.

    Args:
        stream: fields of a split's ``plain()``: ``counts`` (n_tasks x n_classes samples, or
            labels where an image may have several).
        class_names: names of all classes, by default their numbers.
    """
    counts = np.asarray(stream["counts"], float)
    names = named(class_names, counts.shape[1])
    order = [c for c in _by_first(counts.T > 0) if counts[:, c].any()]
    unit = "labels" if "anchors" in stream else "samples"
    tasks = [f"{t}  ({total:,.0f})" for t, total in enumerate(counts.sum(1), start=1)]
    share = np.where(counts > 0, 100 * counts / np.maximum(counts.sum(0), 1), np.nan)
    x, y = (f"task ({unit})", tasks), ("class", [names[c] for c in order])
    return heat_map(share.T[order], "share of the class (%)", x=x, y=y)


def pictures(run: RunRecord) -> Iterator[tuple[str, Chart]]:
    """Yield the heat maps of one run."""
    points, values = history.class_matrix(run)
    if points and not run.whole_stream:
        names = run.summary.get("class_names")
        measure = "average precision" if run.multi_label else "accuracy"
        yield "classes", class_chart(points, values, names, measure=measure)
    usage = history.usage_matrix(run)
    if usage.size:
        yield "prompts", usage_chart(usage)
