"""Measurements of a run as arrays: curves, matrices over classes, tasks and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.folder import KEYS_FILE
from cl_prompts.experiments.run_folder.runs import RunRecord

Floats = NDArray[np.float64]
#: (samples seen, value) per point
Points = list[tuple[int, float]]


def _series(run: RunRecord, kind: str) -> Mapping[str, Points]:
    """The evaluations of a kind, "anytime" or "task_end", by scope."""
    return run.metrics.get(f"{kind}_{run.measure}", {})


def curve_of(run: RunRecord) -> Points:
    """Anytime curve; empty for a run without. The end of the stream is a point where it counts as
    one and no other falls there."""
    written = list(_series(run, "anytime").get("seen", []))
    end = _series(run, "task_end").get("seen", [])[-1:]
    rule = run.config.get("evaluation", {})
    counts = rule.get("every") is not None and rule.get("points") == "default"
    if not (counts and end) or run.whole_stream or (written and written[-1][0] >= end[0][0]):
        return written
    return [*written, *end]


def stream_curve_of(run: RunRecord) -> list[tuple[float, float]]:
    """Anytime curve over samples of the stream, for runs that see these another number of times.

    Points are moved linearly within their task, so that task ends come to lie on those of the
    stream. Where all samples are seen once, this is :func:`curve_of`.
    """
    curve = curve_of(run)
    seen = list(run.summary["task_ends"])
    ends = stream_ends_of(run)
    if not curve or seen == ends:
        return list(curve)
    # Rounded, since places in a stream are whole samples.
    places = np.rint(np.interp([point for point, _ in curve], [0, *seen], [0, *ends]))
    return [(float(x), value) for x, (_, value) in zip(places, curve, strict=True)]


def stream_ends_of(run: RunRecord) -> list[int]:
    """Task ends on the axis of :func:`stream_curve_of`, in samples.

    They are those of the stream; where its tasks and samples are not those of the run, so that no
    point can be moved, the samples that had been seen.
    """
    seen = list(run.summary["task_ends"])
    ends = np.cumsum(task_sizes(run)).tolist()
    return ends if len(seen) == len(ends) and ends[-1] == run.summary["samples"] else seen


def task_sizes(run: RunRecord) -> list[int]:
    """Samples of each task of its stream; an image of a multi-label stream counts once in each."""
    if "tasks" in run.stream:
        return [len(task) for task in run.stream["tasks"]]
    return np.asarray(run.stream["counts"]).sum(axis=1).tolist()


def task_curve_of(run: RunRecord) -> Points:
    """Value over all classes seen, after each task, counted from 1, in which one had been seen."""
    ends = dict(_series(run, "task_end").get("seen", []))
    tasks = enumerate(run.summary["task_ends"], start=1)
    return [(task, ends[end]) for task, end in tasks if end in ends]


def class_matrix(run: RunRecord) -> tuple[list[int], Floats]:
    """Value of each class over the anytime points, or over the task ends of a run without.

    Returns:
        The points, in samples seen, and (classes, points) values, NaN before a class is seen.
    """
    series = _series(run, "anytime") or _series(run, "task_end")
    points = list(dict.fromkeys(point for point, _ in series.get("seen", [])))
    return points, _matrix(series, "class", run.summary["n_classes"], points, np.nan)


def task_matrix(run: RunRecord) -> Floats:
    """(tasks, tasks): ``[i, t]`` value after task t on the classes first seen in task i, or on its
    domain.

    NaN where it was not measured. Values are looked up by samples seen: a task without samples ends
    where the task before it ended, and with its values.
    """
    ends = run.summary["task_ends"]
    return _matrix(_series(run, "task_end"), "task", run.summary["n_tasks"], ends, np.nan)


def _matrix(
    series: Mapping[str, Points], scope: str, n: int, points: Sequence[int], missing: float
) -> Floats:
    """(n, points) values of numbered scopes, ``missing`` where there is none."""
    rows = [dict(series.get(f"{scope}:{i}", [])) for i in range(n)]
    values = [[row.get(point, missing) for point in points] for row in rows]
    return np.array(values, float).reshape(n, len(points))


def first_seen(values: Floats) -> NDArray[np.intp]:
    """Classes in the order in which they are first measured, (classes, points) -> (classes,)."""
    known = ~np.isnan(values)
    # argmax is the first True, but 0 where there is none: classes never measured come last.
    return np.argsort(np.where(known.any(1), known.argmax(1), values.shape[1]), kind="stable")


def usage_matrix(run: RunRecord) -> Floats:
    """(tasks, prompts) selections during each task; no columns for a method without prompts."""
    series = run.metrics.get("prompt_usage", {})
    ends = run.summary["task_ends"]
    totals = _matrix(series, "prompt", len(series), ends, 0.0)
    # Counters grow through the run: a task's own choices lie between two ends.
    return np.diff(totals, axis=1, prepend=0.0).T


def usage_entropy(counts: ArrayLike) -> Floats:
    """Entropy in bits of the shares of each task's selections, (tasks, prompts) -> (tasks,).

    NaN for a task without any.
    """
    values = np.asarray(counts, float)
    total = values.sum(axis=1, keepdims=True)
    # H = - sum of share * log2(share), where 0 * log2(0) is 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        share = values / total
        entropy = -np.where(share > 0, share * np.log2(share), 0.0).sum(axis=1)
    # The entropy of a single used prompt comes out as -0.
    return np.where(total[:, 0] > 0, np.abs(entropy), np.nan)


def key_similarity_of(folder: Path) -> Floats | None:
    """(prompts, prompts) cosine between keys after the last task; None for a method without keys.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / KEYS_FILE
    if not path.is_file():
        return None
    try:
        # Nothing in the file is executed.
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file["similarity"], float)
    except Exception as error:  # of zipfile, zlib and numpy, each with its own
        raise InputError(
            f"cannot read {path} of a run: repeat the run or delete that file"
        ) from error


def drawn_stream(stream: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a split that ``stream_chart`` draws.

    A multi-label split without blurry classes counts the annotated classes of a task as disjoint.
    """
    if "anchors" not in stream:
        return dict(stream)
    visible = [np.flatnonzero(row).tolist() for row in stream["counts"]]
    kinds = stream["anchors"] or {"disjoint_classes": visible, "blurry_classes": []}
    return {"counts": stream["counts"], **kinds}
