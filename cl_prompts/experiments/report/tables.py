"""Tables of a report: everything that the template shows of a group."""

from __future__ import annotations

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
from cl_prompts.experiments.results.comparison import HEADLINES, order_table
from cl_prompts.experiments.results.comparison_text import difference_lines
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.history import before_after
from cl_prompts.experiments.results.metrics import memory_text
from cl_prompts.experiments.run_folder.runs import RunRecord
from cl_prompts.user_code import label_of


def group_fields(group: Group, charts: Charts) -> Fields:
    """Return everything that the template shows of a group; ``charts`` collects the charts."""
    facts = dict(group.runs[0].summary)
    for key in ("dataset", "scenario"):
        facts[key] = label_of(str(facts[key]))
    # Memory has a column of its own.
    metrics = [metric for metric in group.metrics if metric.title != "trainable"]
    table = group.table(metrics)
    return {
        "group": group,
        "names": group.names,
        "finding": finding(group),
        "notes": caveats(group, table),
        "facts": facts,
        "metrics": metrics,
        "table": table,
        "table_by_name": group.table(group.by_name),
        "memory": {row: memory_text(runs[0].summary) for row, runs in group.rows.items()},
        "orders": order_table(group),
        "gaps": _gap_fields(group),
        "curves": curve_charts(group, charts),
        "streams": stream_charts(group, charts),
        "rows": [_row_fields(group, row, charts) for row in group.rows],
    }


def _gap_fields(group: Group) -> Fields:
    """Paired differences of the headline metrics; no rows where nothing is paired."""
    metrics = [m for m in group.metrics if m.key in {*HEADLINES, "task_forgetting", "bwt", "fwt"}]
    rows = [
        (group.names[row], [(difference_lines(one), one.verdict == "significant") for one in found])
        for row, found in group.table(metrics).items()
        if any(one.difference for one in found)
    ]
    return {"reference": group.names[group.reference], "metrics": metrics, "rows": rows}


def _row_fields(group: Group, row: str, charts: Charts) -> Fields:
    """Tasks of a row over all seeds, its runs, and its settings."""
    runs, name = group.rows[row], group.names[row]
    return {
        "name": name,
        "tasks": task_chart(group.title, name, runs, charts),
        "runs": [_run_fields(group.title, name, run, charts) for run in runs],
        "config": yaml_text(dict(runs[0].config)),
    }


def _run_fields(title: str, name: str, run: RunRecord, charts: Charts) -> Fields:
    """Charts of a run, and its scores beside those of its parent."""
    return {
        "folder": run.folder,
        "seeds": run.seeds,
        "charts": run_charts(title, name, run, charts),
        "before_after": [
            (row.name, *(_percent(value) for value in (row.before, row.after, row.change)))
            for row in before_after(run)
        ],
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
