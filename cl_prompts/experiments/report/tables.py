"""Values for the report's template: everything of a group."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cl_prompts.errors import first_of
from cl_prompts.experiments import figures
from cl_prompts.experiments.report.charts import Charts, Fields
from cl_prompts.experiments.report.run_views import Link, row_fields
from cl_prompts.experiments.report.summary import caveats, finding
from cl_prompts.experiments.results.aggregates import power
from cl_prompts.experiments.results.comparison import HEADLINES
from cl_prompts.experiments.results.comparison_text import difference_lines
from cl_prompts.experiments.results.curves import (
    Band,
    Seeds,
    curves_of,
    difference_band,
    mean_band,
)
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.history import (
    drawn_stream,
    stream_curve_of,
    stream_ends_of,
    task_curve_of,
)
from cl_prompts.experiments.results.metrics import at
from cl_prompts.experiments.run_folder.runs import RunRecord, title_of
from cl_prompts.user_code import label_of

_LISTED = 6  # curves that an alternative text names one by one


def group_fields(
    group: Group, rows: Sequence[str], reference: str, charts: Charts, link: Link
) -> Fields:
    """Return everything that the template shows of a group.

    Args:
        group: what is shown.
        rows: all rows of the page, each with one colour.
        reference: row that differences refer to.
        charts: takes the charts.
        link: address of a file.
    """
    facts = dict(group.runs[0].summary)
    for key in ("dataset", "scenario"):
        facts[key] = label_of(str(facts[key]))
    return {
        "group": group,
        "finding": finding(group, reference),
        "caveats": caveats(group.rows),
        "facts": facts,
        "table": group.table(),
        "table_by_name": group.table(group.by_name),
        "bounds": [label for label, members in group.rows.items() if members[0].whole_stream],
        "gaps": _gaps_view(group, reference),
        "curves": _curves(group, rows, reference, charts),
        "streams": _streams(group, charts),
        "rows": [row_fields(group, label, charts, link) for label in group.rows],
    }


def _gaps_view(group: Group, reference: str) -> Fields | None:
    """Table of paired differences of the headline numbers; None where nothing is paired."""
    metrics = [c for c in group.metrics if c.key in {*HEADLINES, "task_forgetting", "bwt", "fwt"}]
    table = group.table(metrics, reference=reference)
    rows = [
        (
            label,
            [
                (difference_lines(aggregate), aggregate.verdict == "significant")
                for aggregate in aggregates
            ],
        )
        for label, aggregates in table.items()
        if any(aggregate.difference for aggregate in aggregates)
    ]
    if not rows:
        return None
    note = power(aggregate for aggregates in table.values() for aggregate in aggregates)
    return {"reference": reference, "metrics": metrics, "rows": rows, "power": note}


def _curves(group: Group, rows: Sequence[str], reference: str, charts: Charts) -> list[Fields]:
    """Charts over samples where there are any, over tasks elsewhere and for several labels."""
    measure = "mAP" if group.multi_label else "accuracy"
    samples = "samples of the stream (images)"
    curves = curves_of(group, stream_curve_of)
    found = _curve_pair(group, curves, rows, reference, charts, samples, measure)
    if group.multi_label or not found:
        curves = curves_of(group, task_curve_of)
        found += _curve_pair(group, curves, rows, reference, charts, "after task", measure)
    return found


def _curve_pair(
    group: Group,
    curves: Mapping[str, Seeds],
    rows: Sequence[str],
    reference: str,
    charts: Charts,
    xlabel: str,
    measure: str,
) -> list[Fields]:
    """Mean curves, and their differences to the reference; nothing where no row has a mean."""
    # Rows whose seeds share no point have none.
    bands = _known({label: mean_band(seeds) for label, seeds in curves.items()})
    if not bands:
        return []
    title = f"{title_of(measure)} {'after each task' if xlabel == 'after task' else 'at any time'}"
    ends = _common_ends(group) if "samples" in xlabel else []
    ylabel = f"{measure} over the classes seen (%)"
    bands |= _bounds(group, bands)
    chart = figures.curve_chart(bands, rows, xlabel=xlabel, ylabel=ylabel, ends=ends)
    alt = f"{group.title}: {title}; at the end {_finals(bands, '{:.1f} %')}"
    caption = (
        f"{title}. Lines: means over seeds; bands: ± one sample standard deviation"
        f"{'; vertical lines: task ends' if ends else ''}. A click on a name picks its curve."
    )
    views = [charts.add(f"{group.title}-{title}", chart, alt, caption)]
    theirs = curves.get(reference, {})
    others = {label: seeds for label, seeds in curves.items() if label != reference}
    gaps = _known({label: difference_band(seeds, theirs) for label, seeds in others.items()})
    if gaps:
        ylabel = "difference (points)"
        chart = figures.curve_chart(
            gaps, rows, xlabel=xlabel, ylabel=ylabel, ends=ends, differences=True
        )
        alt = f"{title} minus that of {reference}; at the end {_finals(gaps, '{:+.1f} points')}"
        caption = (
            f"Difference to {reference} at the same seed, hence on the same stream. Bands: 95 %"
            " intervals of the mean (Student), each point for itself."
        )
        views.append(charts.add(f"{group.title}-{title}-differences", chart, alt, caption))
    return views


def _known(bands: Mapping[str, Band | None]) -> dict[str, Band]:
    return {label: band for label, band in bands.items() if band is not None}


def _common_ends(group: Group) -> list[int]:
    """Samples at the task ends where all streams agree in them, or nothing."""
    ends = [stream_ends_of(run) for run in group.runs if not run.whole_stream]
    return ends[0] if all(found == ends[0] for found in ends) else []


def _bounds(group: Group, bands: Mapping[str, Band]) -> dict[str, Band]:
    """Flat lines at the mean final value of each row that saw all data at once."""
    values = group.values(at("results", "map_last" if group.multi_label else "a_last"))
    x = np.array([min(b.x[0] for b in bands.values()), max(b.x[-1] for b in bands.values())])
    return {
        label: Band(x, np.full(2, statistics.mean(values[label])), None, len(members))
        for label, members in group.rows.items()
        if members[0].whole_stream and values[label]
    }


def _finals(bands: Mapping[str, Band], form: str) -> str:
    """Final values, the highest first."""
    finals = {label: 100 * float(band.middle[-1]) for label, band in bands.items()}
    ranked = sorted(finals.items(), key=lambda item: (-item[1], item[0]))
    return first_of([f"{label} {form.format(value)}" for label, value in ranked], _LISTED)


def _streams(group: Group, charts: Charts) -> list[tuple[str, Fields]]:
    """One chart for each different stream."""
    runs = sorted(group.runs, key=lambda run: run.summary["stream_seed"])
    streams = {json.dumps(run.stream, sort_keys=True): run for run in runs}
    return [_stream(group.title, run, charts) for run in streams.values()]


def _stream(title: str, run: RunRecord, charts: Charts) -> tuple[str, Fields]:
    shown: Mapping[str, Any] = drawn_stream(run.stream)
    counts = np.asarray(shown["counts"])
    name = f"stream seed {run.summary['stream_seed']}"
    chart = figures.stream_chart(shown, run.summary.get("class_names"), unit=run.unit)
    alt = (
        f"{title}, {name}: {counts.sum():,} {run.unit} of {counts.any(axis=0).sum()} classes in"
        f" {len(counts)} tasks"
    )
    caption = f"Classes over tasks; stronger: a larger share of the class's {run.unit}."
    return name, charts.add(f"{title}-{name}", chart, alt, caption)
