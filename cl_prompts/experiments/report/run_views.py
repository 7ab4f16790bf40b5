"""Values for the report's template: the tasks of a row, and the charts of its runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cl_prompts.experiments import figures
from cl_prompts.experiments.recipes.values import yaml_text
from cl_prompts.experiments.report.charts import Charts, Fields
from cl_prompts.experiments.results.before_after import before_after
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.history import (
    Floats,
    class_matrix,
    key_similarity_of,
    task_matrix,
    usage_entropy,
    usage_matrix,
)
from cl_prompts.experiments.run_folder.runs import RunRecord, title_of

#: address of a file or folder, as a page has to write it
Link = Callable[[Path], str]


def row_fields(group: Group, label: str, charts: Charts, link: Link) -> Fields:
    """Return what the template shows of a row: tasks over all seeds, runs, and settings.

    Args:
        group: the table.
        label: the row.
        charts: takes the charts.
        link: address of a file.
    """
    members = group.rows[label]
    return {
        "label": label,
        "tasks": _task_view(group.title, label, members, charts),
        "runs": [_run_view(group.title, label, run, charts, link) for run in members],
        "config": yaml_text(dict(members[0].config)),
    }


def _task_view(
    title: str, label: str, members: Sequence[RunRecord], charts: Charts
) -> Fields | None:
    """The matrix of tasks, where more than one task end was measured."""
    matrix = mean_matrix(members)
    if (~np.isnan(matrix)).any(axis=0).sum() < 2:
        return None
    measure = "mAP" if members[0].multi_label else "accuracy"
    by_domain = any(run.summary.get("domain_names") for run in members)
    rows = "domain of task" if by_domain else "classes first seen in task"
    # Domains have names where they come in one order.
    orders = {tuple(run.summary.get("domain_names") or ()) for run in members}
    names = orders.pop() if len(orders) == 1 else ()
    chart = figures.task_chart(matrix, measure=measure, rows=rows, names=names)
    # Tasks are identified by their place in the stream: other seeds hold other classes there.
    over = f"mean over {len(members)} seeds" if len(members) > 1 else "one seed"
    final = _extremes_in_words(matrix[:, -1], names)
    alt = f"{title}, {label}: {measure} on each task after every task, {over}; at the end {final}"
    return charts.add(f"{title}-{label}-tasks", chart, alt, f"{label}, {over}")


def mean_matrix(runs: Sequence[RunRecord]) -> Floats:
    """Return the mean of the task matrices of some runs; NaN where none has a value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of cells without any value
        return np.asarray(np.nanmean([task_matrix(run) for run in runs], axis=0))


def _extremes_in_words(final: Floats, names: Sequence[str]) -> str:
    if np.isnan(final).all():
        return "nothing was measured"
    worst, best = int(np.nanargmin(final)), int(np.nanargmax(final))
    known = list(names) or [str(i + 1) for i in range(len(final))]
    return (
        f"{100 * final[worst]:.0f} % ({known[worst]}) to {100 * final[best]:.0f} % ({known[best]})"
    )


def _run_view(title: str, label: str, run: RunRecord, charts: Charts, link: Link) -> Fields:
    """Charts of one run, links to its files, and how it learned on."""
    stem = f"{title}-{label}-seed-{run.seeds}"
    whose = f"{title}, {label}, seed {run.seeds}"
    shown = [
        charts.add(f"{stem}-{name}", chart, f"{whose}: {words}", caption)
        for name, chart, words, caption in _charts_of(run)
    ]
    return {
        "name": f"seed {run.seeds}",
        "folder": link(run.folder),
        "settings": link(run.folder / "config.yaml"),
        "charts": shown,
        "before_after": [
            (row.name, *(_percent(value) for value in (row.before, row.after, row.change)))
            for row in before_after(run)
        ],
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _charts_of(run: RunRecord) -> Iterator[tuple[str, figures.Chart, str, str]]:
    """Name, chart, words and caption of what a run has."""
    names = run.summary.get("class_names")
    measure = "average precision" if run.multi_label else "accuracy"
    points, values = class_matrix(run)
    if points and not run.whole_stream:
        chart = figures.class_chart(points, values, names, measure=measure)
        known = names or list(map(str, range(len(values))))
        words = f"{measure} of each class, {_extremes_in_words(values[:, -1], known)} at the end"
        yield "classes", chart, words, f"{title_of(measure)} of each class over samples seen."
    usage = usage_matrix(run)
    if usage.size:
        chart = figures.usage_chart(usage, usage_entropy(usage))
        words = f"use of {usage.shape[1]} prompts in training"
        yield "usage", chart, words, "Prompt usage in training, task by task."
    similarity = key_similarity_of(run.folder)
    if similarity is not None:
        chart = figures.key_chart(similarity)
        words = f"cosine between {len(similarity)} prompt keys"
        yield "keys", chart, words, "Cosine similarity of the prompt keys after the last task."
