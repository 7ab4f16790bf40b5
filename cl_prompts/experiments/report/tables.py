"""Tables of a report: everything that the template shows of a group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cl_prompts.experiments.recipes.values import yaml_text
from cl_prompts.experiments.report.charts import (
    Charts,
    Fields,
    curve_charts,
    run_charts,
    stream_charts,
    task_chart,
)
from cl_prompts.experiments.report.summary import caveats, finding
from cl_prompts.experiments.results.comparison import HEADLINES
from cl_prompts.experiments.results.comparison_text import difference_lines
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.history import before_after
from cl_prompts.experiments.results.metrics import memory_text
from cl_prompts.experiments.results.orders import order_table
from cl_prompts.experiments.run_folder.runs import RunRecord
from cl_prompts.user_code import label_of

#: returns the address of a file or folder on the page
Link = Callable[[Path], str]


def group_fields(group: Group, reference: str, charts: Charts, link: Link) -> Fields:
    """Return everything that the template shows of a group.

    Args:
        group: the runs.
        reference: row that differences refer to.
        charts: collects the charts.
        link: returns the address of a file.
    """
    facts = dict(group.runs[0].summary)
    for key in ("dataset", "scenario"):
        facts[key] = label_of(str(facts[key]))
    table = group.table(reference=reference)
    # Memory has a column of its own.
    shown = [i for i, metric in enumerate(group.metrics) if metric.title != "trainable"]
    return {
        "group": group,
        "names": group.names,
        "finding": finding(group, reference),
        "notes": caveats(group, table),
        "facts": facts,
        "metrics": [group.metrics[i] for i in shown],
        "table": {row: [cells[i] for i in shown] for row, cells in table.items()},
        "table_by_name": group.table(group.by_name),
        "memory": {row: memory_text(runs[0].summary) for row, runs in group.rows.items()},
        "orders": order_table(group),
        "gaps": _gap_fields(group, reference),
        "curves": curve_charts(group, reference, charts),
        "streams": stream_charts(group, charts),
        "rows": [_row_fields(group, row, charts, link) for row in group.rows],
    }


def _gap_fields(group: Group, reference: str) -> Fields | None:
    """Paired differences of the headline metrics; None where nothing is paired."""
    metrics = [m for m in group.metrics if m.key in {*HEADLINES, "task_forgetting", "bwt", "fwt"}]
    table = group.table(metrics, reference=reference)
    rows = [
        (group.names[row], [(difference_lines(one), one.verdict == "significant") for one in found])
        for row, found in table.items()
        if any(one.difference for one in found)
    ]
    if not rows:
        return None
    return {"reference": group.names[reference], "metrics": metrics, "rows": rows}


def _row_fields(group: Group, row: str, charts: Charts, link: Link) -> Fields:
    """Tasks of a row over all seeds, its runs, and its settings."""
    runs, name = group.rows[row], group.names[row]
    return {
        "label": row,
        "name": name,
        "tasks": task_chart(group.title, name, runs, charts),
        "runs": [_run_fields(group.title, name, run, charts, link) for run in runs],
        "config": yaml_text(dict(runs[0].config)),
    }


def _run_fields(title: str, name: str, run: RunRecord, charts: Charts, link: Link) -> Fields:
    """Charts of a run, links to its files, and its scores beside those of its parent."""
    return {
        "name": f"seed {run.seeds}",
        "folder": link(run.folder),
        "settings": link(run.folder / "config.yaml"),
        "charts": run_charts(title, name, run, charts),
        "before_after": [
            (row.name, *(_percent(value) for value in (row.before, row.after, row.change)))
            for row in before_after(run)
        ],
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
