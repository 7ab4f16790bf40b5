"""History of one run: curves, matrices over classes, tasks and prompts, and its parent's scores."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cl_prompts.experiments.run_folder.runs import RunRecord
from cl_prompts.metrics.intervals import change_interval

Floats = NDArray[np.float64]
#: (samples seen, value) per point
Points = list[tuple[int, float]]
#: headings of :class:`BeforeAfter`
BEFORE_AFTER = ("test images of", "images", "before", "after", "change (95 % interval)")


def _series(run: RunRecord, kind: str) -> Mapping[str, Points]:
    """Evaluations of a kind, "anytime" or "task_end", by scope."""
    return run.metrics.get(f"{kind}_{run.measure}", {})


def curve_of(run: RunRecord) -> Points:
    """Return the anytime curve; empty for a run without anytime points.

    The default rule of points adds the end of the stream.
    """
    written = dict(_series(run, "anytime").get("seen", []))
    rule = run.config.get("evaluation", {})
    if rule.get("every") is not None and rule.get("points") == "default" and not run.whole_stream:
        written = dict(_series(run, "task_end").get("seen", [])[-1:]) | written
    return sorted(written.items())


def stream_curve_of(run: RunRecord) -> list[tuple[float, float]]:
    """Return the anytime curve over samples of the stream.

    For runs that see samples several times, points are interpolated linearly within their task.
    With one epoch, and where tasks or samples of the run differ from those of its stream, this is
    :func:`curve_of`.
    """
    seen = list(run.summary["task_ends"])
    ends = np.cumsum(run.stream["sizes"]).tolist()
    if len(seen) != len(ends) or ends[-1] != run.summary["samples"]:
        ends = seen
    points, values = np.array(curve_of(run), float).reshape(-1, 2).T
    places = np.rint(np.interp(points, [0, *seen], [0, *ends]))
    return list(zip(places.tolist(), values.tolist(), strict=True))


def task_curve_of(run: RunRecord) -> Points:
    """Return the value over all classes seen after each task; tasks count from 1."""
    ends = dict(_series(run, "task_end").get("seen", []))
    tasks = enumerate(run.summary["task_ends"], start=1)
    return [(task, ends[end]) for task, end in tasks if end in ends]


def class_matrix(run: RunRecord) -> tuple[list[int], Floats]:
    """Return the value of each class at the anytime points, or else at the task ends.

    Returns:
        Points in samples seen, and (classes, points) values, NaN before a class is seen.
    """
    series = _series(run, "anytime") or _series(run, "task_end")
    points = list(dict.fromkeys(point for point, _ in series.get("seen", [])))
    return points, _matrix(series, "class", run.summary["n_classes"], points, np.nan)


def task_matrix(run: RunRecord) -> Floats:
    """Return a (tasks, tasks) matrix of values on each task after each task.

    ``[i, t]`` is the value after task t on the classes first seen in task i, or on its domain; NaN
    where not measured. A task without samples has the values of the task before it.
    """
    ends = run.summary["task_ends"]
    return _matrix(_series(run, "task_end"), "task", run.summary["n_tasks"], ends, np.nan)


def _matrix(
    series: Mapping[str, Points], scope: str, n: int, points: Sequence[int], missing: float
) -> Floats:
    """(n, points) values of numbered scopes."""
    rows = [dict(series.get(f"{scope}:{i}", [])) for i in range(n)]
    values = [[row.get(point, missing) for point in points] for row in rows]
    return np.array(values, float).reshape(n, len(points))


def usage_matrix(run: RunRecord) -> Floats:
    """Return the selections of each prompt during each task, (tasks, prompts).

    A method without prompts has no columns.
    """
    series = run.metrics.get("prompt_usage", {})
    ends = run.summary["task_ends"]
    totals = _matrix(series, "prompt", len(series), ends, 0.0)
    # Counters are cumulative.
    return np.diff(totals, axis=1, prepend=0.0).T


class BeforeAfter(NamedTuple):
    """A row of the table.

    Attributes:
        name: of a class, or of a group of classes.
        before: score of the parent's model on the test images; None for a new class.
        after: score at the end of the run; None without test images.
        images: test images behind both scores; 0 if unknown.
    """

    name: str
    before: float | None
    after: float | None
    images: int = 0

    @property
    def texts(self) -> list[str]:
        """Name, images, scores and their change with its interval, under ``BEFORE_AFTER``."""
        scores = ["" if v is None else f"{100 * v:.1f} %" for v in (self.before, self.after)]
        change = ""
        if self.before is not None and self.after is not None:
            change = f"{100 * (self.after - self.before):+.1f}"
            if self.images:
                ends = change_interval(self.before, self.after, self.images)
                change += " ({:+.1f} to {:+.1f})".format(*(100 * end for end in ends))
        return [self.name, str(self.images or ""), *scores, change]


def before_after(run: RunRecord) -> list[BeforeAfter]:
    """Return the rows of a continual run; none for a run without a parent.

    Rows are all test images, the known classes and the new ones (means over classes), each domain,
    and each class.
    """
    if not run.before:
        return []
    names = run.summary.get("class_names") or list(map(str, range(run.summary["n_classes"])))
    images = run.before.get("images") or [0] * len(names)
    last = {scope: points[-1][1] for scope, points in _series(run, "task_end").items()}
    later = [last.get(f"class:{number}") for number in range(len(names))]
    # New classes follow those of the parent.
    found = itertools.zip_longest(names, run.before["by_class"], later, images)
    classes = [BeforeAfter(*row) for row in found]
    new = any(row.before is None and row.after is not None for row in classes)
    # With several labels the score is a mean over classes, and the parent has fewer of them.
    before = None if new and run.multi_label else run.before["score"]
    total = BeforeAfter("all test images", before, last.get("seen"), sum(images))
    known = run.before.get("by_domain", {}).items()
    domains = [BeforeAfter(f"domain {name}", v, last.get(f"domain:{name}")) for name, v in known]
    return with_groups(total, [*domains, *classes], classes)


def with_groups(
    total: BeforeAfter, rows: Sequence[BeforeAfter], classes: Sequence[BeforeAfter]
) -> list[BeforeAfter]:
    """Return all rows of a table: the total, known and new classes (means), and ``rows``."""
    measured = [row for row in classes if row.after is not None]
    known = [row for row in measured if row.before is not None]
    new = [row for row in measured if row.before is None]
    groups = {"classes known before": known, "new classes": new}
    return [total, *(_group(name, some) for name, some in groups.items() if some), *rows]


def _group(name: str, rows: Sequence[BeforeAfter]) -> BeforeAfter:
    """Return the row of several classes: means of their scores."""
    before = [row.before for row in rows if row.before is not None]
    after = [row.after for row in rows if row.after is not None]
    means = [statistics.fmean(known) if known else None for known in (before, after)]
    return BeforeAfter(name, means[0], means[1], sum(row.images for row in rows))
