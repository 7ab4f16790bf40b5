"""Value on the classes of each task after every task, as a table: mean over the seeds of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from cl_prompts.experiments.figures.heatmaps import forgetting_per_task
from cl_prompts.experiments.results.series import Floats, domains_of, extremes, task_matrix
from cl_prompts.experiments.run_folder.runs import Run

#: tasks up to which there is a table, and up to which its cells have room for a spread
MAX_TASKS = 20
MAX_SPREADS = 10
#: shades of a cell, each for an equal part of 0 to 100 %
_SHADES = 20
#: the first of them, on which white letters stand out more than black ones
_LIGHT_INKS = 9


@dataclass(frozen=True)
class TaskMatrix:
    """Means over seeds, cell by cell.

    Attributes:
        mean: (tasks, tasks) fractions, ``[i, t]`` on the classes first seen in task i, or on its
            domain, after task t; NaN where no seed has a value.
        spread: sample standard deviations; NaN for fewer than two values.
        count: number of values.
        lost: (tasks, 3) mean, spread and number of the final forgetting of each task.
        domains: names of the tasks' domains; empty where tasks are of classes, or seeds have their
            domains in other orders.
        by_domain: whether tasks are of domains.
    """

    mean: Floats
    spread: Floats
    count: Floats
    lost: Floats
    domains: tuple[str, ...] = ()
    by_domain: bool = False

    @property
    def heading(self) -> str:
        """Heading of the column that names rows."""
        if self.domains:
            return "domain"
        return "domain of task" if self.by_domain else "classes of task"

    @property
    def rows(self) -> str:
        """Name of the axis of rows in a picture, where they are numbered."""
        return "domain of task" if self.by_domain else "classes first seen in task"

    @property
    def names(self) -> list[str]:
        """Name of each row."""
        return list(self.domains) or [str(i + 1) for i in range(len(self.mean))]

    @property
    def measured_on(self) -> str:
        """Images that rows stand for, in words."""
        if self.by_domain:
            return "the domain of each task"
        return "the classes first seen in each task"

    @property
    def shown(self) -> bool:
        """Whether there is more than one task end to compare."""
        return int((self.count > 0).any(axis=0).sum()) > 1


def mean_matrix(runs: Sequence[Run]) -> TaskMatrix:
    """Mean over runs of one row.

    Tasks are identified by their place in the stream: with other seeds they hold other classes, or
    are of other domains.
    """
    values = np.stack([task_matrix(run) for run in runs])
    lost = np.stack([forgetting_per_task(matrix) for matrix in values])
    by_domain = any(run.summary.get("domain_names") for run in runs)
    lost = np.stack(_moments(lost), axis=1)
    return TaskMatrix(*_moments(values), lost, domains_of(runs), by_domain)


def _moments(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, sample standard deviation and number of what is no NaN, over the first axis."""
    # By hand, since numpy's functions for NaN warn where a cell has no value.
    known = ~np.isnan(values)
    count = known.sum(axis=0).astype(float)
    some = np.where(count > 0, count, np.nan)
    mean = np.where(known, values, 0.0).sum(axis=0) / some
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=0)
    spread = np.sqrt(squares / np.where(count > 1, count - 1, np.nan))
    return mean, spread, count


def table_rows(matrix: TaskMatrix) -> list[list[dict[str, Any]]]:
    """Cells of each task, and its forgetting as the last one: ``text``, ``spread`` and ``shade``.

    Empty texts stand where nothing was measured.
    """
    roomy = len(matrix.mean) <= MAX_SPREADS
    rows = []
    for i, means in enumerate(matrix.mean):
        cells = [_cell(mean, matrix.spread[i, t], roomy) for t, mean in enumerate(means)]
        mean, spread, _ = matrix.lost[i]
        rows.append([*cells, _cell(mean, spread, roomy, shaded=False)])
    return rows


def _cell(mean: float, spread: float, roomy: bool, *, shaded: bool = True) -> dict[str, Any]:
    if np.isnan(mean):
        return {"text": "", "spread": "", "shade": ""}
    return {
        "text": f"{100 * mean:.0f}" if shaded else _signed(mean),
        "spread": f"±{100 * spread:.0f}" if roomy and not np.isnan(spread) else "",
        # 100 % belongs to the last shade.
        "shade": f"v{min(int(mean * _SHADES), _SHADES - 1)}" if shaded else "",
    }


def _signed(fraction: float) -> str:
    points = round(100 * fraction)
    # Neither +0 nor -0.
    return f"{points:+d}" if points else "0"


def csv_rows(matrix: TaskMatrix, measure: str) -> list[list[Any]]:
    """The table in long form, unrounded; the forgetting of a task has no task end."""
    rows: list[list[Any]] = [
        [matrix.heading.replace(" ", "_"), "after_task", "measure", "mean", "sd", "n"]
    ]
    for i, means in enumerate(matrix.mean):
        name = matrix.domains[i] if matrix.domains else i + 1
        for t, mean in enumerate(means):
            if matrix.count[i, t]:
                numbers = _numbers(mean, matrix.spread[i, t], matrix.count[i, t])
                rows.append([name, t + 1, measure, *numbers])
        if matrix.lost[i, 2]:
            rows.append([name, "", "forgetting", *_numbers(*matrix.lost[i])])
    return rows


def _numbers(mean: float, spread: float, count: float) -> list[Any]:
    return [float(mean), "" if np.isnan(spread) else float(spread), int(count)]


def shades() -> list[str]:
    """Colour of each class of cells, ``v0`` and so on, from low to high."""
    middles = (np.arange(_SHADES) + 0.5) / _SHADES
    return [to_hex(colour) for colour in colormaps["viridis"](middles)]


def inks() -> list[str]:
    """Colour of the letters on each of ``shades``: a contrast of 4.5 at least (WCAG 2, AA)."""
    return ["#ffffff" if i < _LIGHT_INKS else "#000000" for i in range(_SHADES)]


def in_words(matrix: TaskMatrix) -> str:
    """Lowest and highest final value of the table, in words."""
    final = matrix.mean[:, -1]
    found = extremes(final)
    if found is None:
        return "nothing was measured after the last task"
    worst, best = found
    if matrix.domains:
        return (
            f"after the last task {100 * final[worst]:.0f} % on {matrix.domains[worst]} (lowest)"
            f" and {100 * final[best]:.0f} % on {matrix.domains[best]} (highest)"
        )
    what, others = ("domain", "that") if matrix.by_domain else ("classes", "those")
    return (
        f"after the last task {100 * final[worst]:.0f} % on the {what} of task {worst + 1}"
        f" (lowest) and {100 * final[best]:.0f} % on {others} of task {best + 1} (highest)"
    )
