"""Measurements of a run as arrays: curves, matrices over classes, tasks and prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.folder import EXAMPLES_FILE, KEYS_FILE
from cl_prompts.experiments.run_folder.runs import Run

Floats = NDArray[np.float64]
#: Evaluations up to which all are written by class and by task. Of more as many are, evenly spaced,
#: with the last: a row for each class and task after each of T tasks would be a file, and a time,
#: that grow with the square of T. Results are computed from all evaluations.
DETAILED = 200


def curve_of(run: Run) -> list[tuple[int, float]]:
    """Anytime curve, (samples seen, value) per point; empty for a run without. The end of the
    stream is a point where it counts as one and no other falls there."""
    written = _over_seen(run, "anytime")
    end = _over_seen(run, "task_end")[-1:]
    rule = run.config.get("evaluation", {})
    counts = rule.get("every") is not None and rule.get("points") == "default"
    if not (counts and end) or run.whole_stream or (written and written[-1][0] >= end[0][0]):
        return written
    return [*written, *end]


def by_points(run: Run) -> bool:
    """Whether classes were measured at anytime points."""
    return bool(_over_seen(run, "anytime"))


def _over_seen(run: Run, kind: str) -> list[tuple[int, float]]:
    return run.metrics.get(f"{kind}_{run.measure}", {}).get("seen", [])


def stream_curve_of(run: Run) -> list[tuple[float, float]]:
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


def stream_ends_of(run: Run) -> list[int]:
    """Task ends on the axis of :func:`stream_curve_of`, in samples.

    They are those of the stream; where its tasks and samples are not those of the run, so that no
    point can be moved, the samples that had been seen.
    """
    seen = list(run.summary["task_ends"])
    ends = np.cumsum(task_sizes(run)).tolist()
    return ends if len(seen) == len(ends) and ends[-1] == run.summary["samples"] else seen


def task_sizes(run: Run) -> list[int]:
    """Samples of each task of its stream; an image of a multi-label stream counts once in each."""
    if "tasks" in run.stream:
        return [len(task) for task in run.stream["tasks"]]
    return np.asarray(run.stream["counts"]).sum(axis=1).tolist()


def task_curve_of(run: Run) -> list[float]:
    """Value over all classes seen, after each task; NaN where no class had been seen."""
    ends = dict(run.metrics.get(f"task_end_{run.measure}", {}).get("seen", []))
    return [ends.get(end, math.nan) for end in run.summary["task_ends"]]


def class_matrix(run: Run) -> tuple[list[int], Floats]:
    """Value of each class over the anytime points, or over the task ends of a run without.

    Returns:
        The points, in samples seen, and (classes, points) values, NaN before a class is seen. Of
        very many points those that were written by class; of task ends see :func:`task_matrix`.
    """
    kind = "anytime" if by_points(run) else "task_end"
    series = run.metrics.get(f"{kind}_{run.measure}", {})
    points = [point for point, _ in series.get("seen", [])]
    if kind == "anytime":
        written = {point for scope in series if scope != "seen" for point, _ in series[scope]}
        points = [point for point in points if point in written]
    elif points:  # where classes were removed, the last task was evaluated twice
        points = list(run.summary["task_ends"])
    by_class = [dict(series.get(f"class:{c}", [])) for c in range(run.summary["n_classes"])]
    values = _matrix(by_class, points, np.nan)
    return points, values if kind == "anytime" else _spread(values)


def first_seen(values: Floats) -> NDArray[np.intp]:
    """Classes in the order in which they are first measured, (classes, points) -> (classes,)."""
    known = ~np.isnan(values)
    # argmax is the first True, but 0 where there is none: classes never measured come last.
    return np.argsort(np.where(known.any(1), known.argmax(1), values.shape[1]), kind="stable")


def extremes(values: Floats) -> tuple[int, int] | None:
    """Places of the lowest and the highest value that is no NaN; None without any."""
    if np.isnan(values).all():
        return None
    return int(np.nanargmin(values)), int(np.nanargmax(values))


def column_edges(points: Floats) -> Floats:
    """Ends of the columns of a class map, (points,) -> (points + 1,).

    They lie half-way between points, the first as far back as forward.
    """
    middles = (points[1:] + points[:-1]) / 2
    start = max(0.0, 2 * points[0] - middles[0]) if len(middles) else 0.0
    return np.concatenate([[start], middles, [points[-1]]])


def task_matrix(run: Run) -> Floats:
    """(tasks, tasks): ``[i, t]`` value after task t on the classes first seen in task i, or on its
    domain.

    NaN where it was not measured. Values are looked up by samples seen: a task without samples ends
    where the task before it ended, and with its values. Of more tasks than ``DETAILED`` some ends
    were written, and those between two of them show the values of the later one.
    """
    series = run.metrics.get(f"task_end_{run.measure}", {})
    by_task = [dict(series.get(f"task:{i}", [])) for i in range(run.summary["n_tasks"])]
    values = _spread(_matrix(by_task, run.summary["task_ends"], np.nan))
    # Spreading has filled ends at which a task had not begun, too.
    if len(values) > DETAILED:
        values[np.tri(len(values), values.shape[1], -1, dtype=bool)] = np.nan
    return values


def domains_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """Names of the tasks' domains, where runs have the same ones in the same order; else empty."""
    orders = {tuple(run.summary.get("domain_names") or ()) for run in runs}
    return orders.pop() if len(orders) == 1 else ()


def _spread(values: Floats) -> Floats:
    """(series, task ends), where there are many: ends that were not written as the next one that
    was."""
    n = values.shape[1]
    if n <= DETAILED:
        return values
    written = np.flatnonzero(~np.isnan(values).all(axis=0))
    # The next written end of each; behind the last one there is none, and the own column is NaN.
    following = np.searchsorted(written, np.arange(n))
    return values[:, np.append(written, n - 1)[following]]


def _matrix(series: Sequence[Mapping[int, float]], points: Sequence[int], missing: float) -> Floats:
    """(series, points) values, ``missing`` where there is none."""
    matrix = np.full((len(series), len(points)), missing)
    for row, values in zip(matrix, series, strict=True):
        row[:] = [values.get(point, missing) for point in points]
    return matrix


def usage_matrix(run: Run) -> Floats:
    """(tasks, prompts) selections during each task; no columns for a method without prompts."""
    series = run.metrics.get("prompt_usage", {})
    prompts = sorted(series, key=lambda scope: int(scope.partition(":")[2]))
    by_prompt = [dict(series[scope]) for scope in prompts]
    totals = np.zeros((run.summary["n_tasks"] + 1, len(prompts)))
    for t, end in enumerate(run.summary["task_ends"], start=1):
        # Zero for a task end before the first sample.
        totals[t] = [values.get(end, 0) for values in by_prompt]
    # Counters grow through the run: a task's own choices lie between two ends.
    return np.diff(totals, axis=0)


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


def buffer_matrix(run: Run) -> Floats:
    """(tasks, classes) samples in the replay buffer at each task end; no rows without a buffer."""
    series = run.metrics.get("buffer", {})
    classes = range(run.summary["n_classes"])
    if not series:
        return np.zeros((0, len(classes)))
    by_class = [dict(series.get(f"class:{c}", [])) for c in classes]
    return _matrix(by_class, run.summary["task_ends"], 0.0).T


def key_similarity_of(folder: Path) -> Floats | None:
    """(prompts, prompts) cosine between keys after the last task; None for a method without keys.

    Raises:
        InputError: the file is damaged.
    """
    arrays = _read_arrays(folder / KEYS_FILE, {"similarity": (2, "f")})
    return None if arrays is None else np.asarray(arrays["similarity"], float)


def examples_of(run: Run) -> dict[str, np.ndarray] | None:
    """Some test images of a multi-label run, None for others.

    Returns:
        ``images`` (n, 3, height, width) uint8, ``truth`` and ``predicted`` (n, classes) bool.

    Raises:
        InputError: the file is damaged.
    """
    return _read_arrays(run.folder / EXAMPLES_FILE, EXAMPLES)


#: arrays of examples: dimensions, and kind of numbers
EXAMPLES = {"images": (4, "u"), "truth": (2, "b"), "predicted": (2, "b")}


def _read_arrays(path: Path, wanted: Mapping[str, tuple[int, str]]) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        # Nothing in the file is executed.
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in wanted}
        for name, (dimensions, kind) in wanted.items():
            if found[name].ndim != dimensions or found[name].dtype.kind != kind:
                raise ValueError(f"{name} is of another kind")
        return found
    except Exception as error:  # of zipfile, zlib and numpy, each with its own
        raise InputError(
            f"cannot read {path} of a run: repeat the run or delete that file"
        ) from error


def stream_view(stream: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a split that ``stream_chart`` draws.

    A multi-label split without blurry classes counts the annotated classes of a task as disjoint.
    """
    if "anchors" not in stream:
        return dict(stream)
    anchors = stream["anchors"]
    visible = [np.flatnonzero(row).tolist() for row in stream["counts"]]
    return {
        "counts": stream["counts"],
        "disjoint_classes": anchors["disjoint_classes"] if anchors else visible,
        "blurry_classes": anchors["blurry_classes"] if anchors else [[] for _ in visible],
    }


def in_detail(number: int, expected: int) -> bool:
    """Whether an evaluation is written by class and by task.

    >>> [n for n in range(1, 1001) if in_detail(n, 1000)][:3]
    [5, 10, 15]
    >>> sum(in_detail(n, 301) for n in range(1, 302)), in_detail(301, 301)
    (200, True)

    Args:
        number: of the evaluation, the first is 1.
        expected: evaluations of its kind in the whole run.
    """
    if expected <= DETAILED or number >= expected:
        return True
    return number * DETAILED // expected > (number - 1) * DETAILED // expected
