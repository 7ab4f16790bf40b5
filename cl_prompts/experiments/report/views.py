"""Values for the report's template: everything of a section."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cl_prompts.errors import first_of
from cl_prompts.experiments import figures
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.report.charts import Charts, View
from cl_prompts.experiments.report.findings import caveats, finding
from cl_prompts.experiments.report.run_views import Link, row_view
from cl_prompts.experiments.results.columns import at
from cl_prompts.experiments.results.comparison import HEADLINES
from cl_prompts.experiments.results.comparison_text import difference_lines
from cl_prompts.experiments.results.curves import (
    Band,
    Seeds,
    curves_of,
    difference_band,
    mean_band,
)
from cl_prompts.experiments.results.entries import power
from cl_prompts.experiments.results.sections import Section
from cl_prompts.experiments.results.series import (
    stream_curve_of,
    stream_ends_of,
    stream_view,
    task_curve_of,
)
from cl_prompts.experiments.run_folder.runs import Run, title_of

_LISTED = 6  # curves that an alternative text names one by one


def section_view(
    section: Section, rows: Sequence[str], reference: str, charts: Charts, link: Link
) -> View:
    """Return everything that the template shows of a section.

    Args:
        section: what is shown.
        rows: all rows of the page, each with one colour.
        reference: row that differences refer to.
        charts: takes the charts.
        link: address of a file.
    """
    facts = dict(section.runs[0].summary)
    for key in ("dataset", "scenario"):
        facts[key] = label_of(str(facts[key]))
    return {
        "section": section,
        "finding": finding(section, reference),
        "caveats": caveats(section.groups),
        "facts": facts,
        "table": section.table(),
        "table_by_name": section.table(section.by_name),
        "bounds": [label for label, group in section.groups.items() if group[0].whole_stream],
        "gaps": _gaps_view(section, reference),
        "curves": _curves(section, rows, reference, charts),
        "streams": _streams(section, charts),
        "rows": [row_view(section, label, charts, link) for label in section.groups],
    }


def _gaps_view(section: Section, reference: str) -> View | None:
    """Table of paired differences of the headline numbers; None where nothing is paired."""
    columns = [c for c in section.columns if c.key in {*HEADLINES, "task_forgetting", "bwt", "fwt"}]
    table = section.table(columns, reference=reference)
    rows = [
        (label, [(difference_lines(entry), entry.verdict == "significant") for entry in entries])
        for label, entries in table.items()
        if any(entry.difference for entry in entries)
    ]
    if not rows:
        return None
    note = power(entry for entries in table.values() for entry in entries)
    return {"reference": reference, "columns": columns, "rows": rows, "power": note}


def _curves(section: Section, rows: Sequence[str], reference: str, charts: Charts) -> list[View]:
    """Charts over samples where there are any, over tasks elsewhere and for several labels."""
    measure = "mAP" if section.multi_label else "accuracy"
    samples = "samples of the stream (images)"
    curves = curves_of(section, stream_curve_of)
    found = _curve_pair(section, curves, rows, reference, charts, samples, measure)
    if section.multi_label or not found:
        curves = curves_of(section, task_curve_of)
        found += _curve_pair(section, curves, rows, reference, charts, "after task", measure)
    return found


def _curve_pair(
    section: Section,
    curves: Mapping[str, Seeds],
    rows: Sequence[str],
    reference: str,
    charts: Charts,
    xlabel: str,
    measure: str,
) -> list[View]:
    """Mean curves, and their differences to the reference; nothing where no row has a mean."""
    # Rows whose seeds share no point have none.
    bands = _known({label: mean_band(seeds) for label, seeds in curves.items()})
    if not bands:
        return []
    title = f"{title_of(measure)} {'after each task' if xlabel == 'after task' else 'at any time'}"
    ends = _common_ends(section) if "samples" in xlabel else []
    ylabel = f"{measure} over the classes seen (%)"
    bands |= _bounds(section, bands)
    chart = figures.curve_chart(bands, rows, xlabel=xlabel, ylabel=ylabel, ends=ends)
    alt = f"{section.title}: {title}; at the end {_finals(bands, '{:.1f} %')}"
    caption = (
        f"{title}. Lines: means over seeds; bands: ± one sample standard deviation"
        f"{'; vertical lines: task ends' if ends else ''}. A click on a name picks its curve."
    )
    views = [charts.add(f"{section.title}-{title}", chart, alt, caption)]
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
        views.append(charts.add(f"{section.title}-{title}-differences", chart, alt, caption))
    return views


def _known(bands: Mapping[str, Band | None]) -> dict[str, Band]:
    return {label: band for label, band in bands.items() if band is not None}


def _common_ends(section: Section) -> list[int]:
    """Samples at the task ends where all streams agree in them, or nothing."""
    ends = [stream_ends_of(run) for run in section.runs if not run.whole_stream]
    return ends[0] if all(found == ends[0] for found in ends) else []


def _bounds(section: Section, bands: Mapping[str, Band]) -> dict[str, Band]:
    """Flat lines at the mean final value of each row that saw all data at once."""
    values = section.values(at("results", "map_last" if section.multi_label else "a_last"))
    x = np.array([min(b.x[0] for b in bands.values()), max(b.x[-1] for b in bands.values())])
    return {
        label: Band(x, np.full(2, statistics.mean(values[label])), None, len(group))
        for label, group in section.groups.items()
        if group[0].whole_stream and values[label]
    }


def _finals(bands: Mapping[str, Band], form: str) -> str:
    """Final values, the highest first."""
    finals = {label: 100 * float(band.middle[-1]) for label, band in bands.items()}
    ranked = sorted(finals.items(), key=lambda item: (-item[1], item[0]))
    return first_of([f"{label} {form.format(value)}" for label, value in ranked], _LISTED)


def _streams(section: Section, charts: Charts) -> list[tuple[str, View]]:
    """One chart for each different stream."""
    runs = sorted(section.runs, key=lambda run: run.summary["stream_seed"])
    streams = {json.dumps(run.stream, sort_keys=True): run for run in runs}
    return [_stream(section.title, run, charts) for run in streams.values()]


def _stream(title: str, run: Run, charts: Charts) -> tuple[str, View]:
    shown: Mapping[str, Any] = stream_view(run.stream)
    counts = np.asarray(shown["counts"])
    name = f"stream seed {run.summary['stream_seed']}"
    chart = figures.stream_chart(shown, run.summary.get("class_names"), unit=run.unit)
    alt = (
        f"{title}, {name}: {counts.sum():,} {run.unit} of {counts.any(axis=0).sum()} classes in"
        f" {len(counts)} tasks"
    )
    caption = f"Classes over tasks; stronger: a larger share of the class's {run.unit}."
    return name, charts.add(f"{title}-{name}", chart, alt, caption)
