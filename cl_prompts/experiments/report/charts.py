"""Charts of a report: specifications for the page, and figures for papers."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from cl_prompts.experiments.figures import maps
from cl_prompts.experiments.figures.curves import curve_chart
from cl_prompts.experiments.figures.style import Chart, spec
from cl_prompts.experiments.results import history
from cl_prompts.experiments.results.aggregates import Band, curves_of, difference_band, mean_band
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.run_folder.folder import KEYS_FILE
from cl_prompts.experiments.run_folder.runs import RunRecord

Fields = dict[str, Any]
_LONGEST_STEM = 150  # of the name of a file


class Charts:
    """Charts of a page by file name, without suffix.

    Args:
        names: names of all rows of the page: each has one colour in all charts.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.by_file: dict[str, Chart] = {}

    def add(self, name: str, chart: Chart, alt: str, caption: str = "") -> Fields:
        """Add a chart.

        Args:
            name: of its file; characters that file names should not have become dashes.
            chart: the chart.
            alt: alternative text.
            caption: text below it.

        Returns:
            ``json``, ``alt``, ``caption`` and ``file`` for the template.
        """
        file = re.sub(r"[^a-z0-9]+", "-", name.lower())[-_LONGEST_STEM:].strip("-")
        if file in self.by_file:
            file = f"{file}-{len(self.by_file)}"
        self.by_file[file] = chart
        text = script_json(spec(chart, alt))
        return {"json": text, "alt": alt, "caption": caption, "file": file}


def script_json(data: Any) -> Markup:
    """Return JSON for a script element."""
    # A name may hold </script>, which would end the element.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def curve_charts(group: Group, charts: Charts) -> list[Fields]:
    """Draw curves over samples, or over tasks for several labels and without anytime points."""
    found = _curve_pair(group, charts, over_tasks=False)
    if group.multi_label or not found:
        found += _curve_pair(group, charts, over_tasks=True)
    return found


def _curve_pair(group: Group, charts: Charts, *, over_tasks: bool) -> list[Fields]:
    """Mean curves, and their differences to the reference; empty without curves."""
    names, reference = group.names, group.reference
    curves = curves_of(group.rows, history.task_curve_of if over_tasks else history.stream_curve_of)
    bands = _known({names[row]: mean_band(seeds) for row, seeds in curves.items()})
    if not bands:
        return []
    score = "mAP" if group.multi_label else "Accuracy"
    title = f"{score} {'after each task' if over_tasks else 'at any time'}"
    axes: Fields = {
        "xlabel": "after task" if over_tasks else "samples of the stream (images)",
        "ends": [] if over_tasks else _common_ends(group),
    }
    ylabel = f"{score} over the classes seen (%)"
    chart = curve_chart(bands, charts.names, ylabel=ylabel, **axes)
    lines = "; vertical lines: task ends" if axes["ends"] else ""
    caption = f"{title}. Lines: means over seeds; bands: ± one standard deviation{lines}."
    found = [charts.add(f"{group.title}-{title}", chart, f"{group.title}: {title}", caption)]
    theirs = curves.pop(reference, {})
    gaps = _known({names[row]: difference_band(ours, theirs) for row, ours in curves.items()})
    if gaps:
        axes |= {"ylabel": "difference (points)", "differences": True}
        chart = curve_chart(gaps, charts.names, **axes)
        alt = f"{group.title}: {title} minus that of {names[reference]}"
        caption = (
            f"Difference to {names[reference]} at the same seed. Bands: 95 % intervals of the mean"
            " at each point (Student)."
        )
        found.append(charts.add(f"{group.title}-{title}-differences", chart, alt, caption))
    return found


def _known(bands: Mapping[str, Band | None]) -> dict[str, Band]:
    return {name: band for name, band in bands.items() if band is not None}


def _common_ends(group: Group) -> list[int]:
    """Samples at the task ends, where all streams agree in them."""
    ends = [history.stream_ends_of(run) for run in group.runs if not run.whole_stream]
    return ends[0] if all(found == ends[0] for found in ends) else []


def stream_charts(group: Group, charts: Charts) -> list[tuple[str, Fields]]:
    """Draw each different stream once, with its name."""
    runs = sorted(group.runs, key=lambda run: run.summary["stream_seed"])
    found = []
    for run in {json.dumps(run.stream, sort_keys=True): run for run in runs}.values():
        order = f", {run.order}" if run.order else ""
        name = f"stream seed {run.summary['stream_seed']}{order}"
        chart = maps.stream_chart(run.stream, run.summary.get("class_names"))
        caption = "Classes over tasks; darker: a larger share of the class."
        title = f"{group.title}-{name}"
        found.append((name, charts.add(title, chart, f"{group.title}, {name}", caption)))
    return found


def task_chart(title: str, name: str, runs: Sequence[RunRecord], charts: Charts) -> Fields | None:
    """Draw the task matrix of a row; None with fewer than two measured task ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of cells without any value
        matrix = np.asarray(np.nanmean([history.task_matrix(run) for run in runs], axis=0))
    if (~np.isnan(matrix)).any(axis=0).sum() < 2:
        return None
    measure = "mAP" if runs[0].multi_label else "accuracy"
    # Seeds may order domains differently.
    orders = {tuple(run.summary.get("domain_names") or ()) for run in runs}
    rows = "domain of task" if any(orders) else "classes first seen in task"
    names = orders.pop() if len(orders) == 1 else ()
    chart = maps.task_chart(matrix, measure=measure, rows=rows, names=names)
    over = f"mean over {len(runs)} seeds" if len(runs) > 1 else "one seed"
    alt = f"{title}, {name}: {measure} on each task after every task, {over}"
    return charts.add(f"{title}-{name}-tasks", chart, alt, f"{name}, {over}")


def run_charts(title: str, name: str, run: RunRecord, charts: Charts) -> list[Fields]:
    """Draw classes, prompt use and keys of one run."""
    stem, whose = f"{title}-{name}-seed-{run.seeds}", f"{title}, {name}, seed {run.seeds}"
    return [
        {**charts.add(f"{stem}-{what}", chart, f"{whose}: {line or what}"), "line": line}
        for what, chart, line in _pictures(run)
    ]


def _pictures(run: RunRecord) -> Iterator[tuple[str, Chart, str]]:
    """File name, chart, and the line that folds it; an empty line shows it."""
    measure = "average precision" if run.multi_label else "accuracy"
    points, values = history.class_matrix(run)
    if points and not run.whole_stream:
        chart = maps.class_chart(points, values, run.summary.get("class_names"), measure=measure)
        yield "classes", chart, ""
    usage = history.usage_matrix(run)
    if usage.size:
        task, prompt = np.unravel_index(usage.argmax(), usage.shape)
        share = 100 * usage[task, prompt] / max(1, usage[task].sum())
        line = f"Prompt use: largest share {share:.0f} % (prompt {prompt}, task {task + 1})"
        yield "prompt-use", maps.usage_chart(usage), line
    keys = run.folder / KEYS_FILE
    similarity = np.load(keys)["similarity"] if keys.is_file() else np.empty(0)
    if len(similarity) > 1:
        others = np.where(np.eye(len(similarity), dtype=bool), -np.inf, similarity)
        first, second = np.unravel_index(others.argmax(), others.shape)
        largest = f"largest {others.max():.2f} (prompts {first} and {second})"
        line = f"Cosines between prompt keys: {largest}"
        yield "key-cosines", maps.key_chart(similarity), line
