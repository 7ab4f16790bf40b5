"""The page: a self-contained HTML file with tables and charts, made from run folders alone."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cl_prompts.errors import InputError, first_of, short
from cl_prompts.experiments.figures.style import Format, figure, theme
from cl_prompts.experiments.recipes.values import yaml_text
from cl_prompts.experiments.report.charts import (
    Charts,
    Fields,
    curve_charts,
    run_charts,
    script_json,
    stream_charts,
    task_chart,
)
from cl_prompts.experiments.results.aggregates import Aggregate
from cl_prompts.experiments.results.comparison import (
    HEADLINES,
    notes_of,
    order_sentences,
    order_table,
)
from cl_prompts.experiments.results.comparison_text import BOLD, difference_lines
from cl_prompts.experiments.results.groups import Group, choose, groups
from cl_prompts.experiments.results.history import BEFORE_AFTER, before_after
from cl_prompts.experiments.results.metrics import memory_text
from cl_prompts.experiments.run_folder.files import replace
from cl_prompts.experiments.run_folder.runs import RunRecord, collect
from cl_prompts.user_code import label_of

#: marks a page as a report of ours
_MARK = '<meta name="generator" content="cl-prompts report">'
#: metrics of the sentence on the paired tests, in order of preference
_ABOUT = ("a_auc", "map_avg", "a_last", "map_last")
#: number of rows that a sentence lists
_NAMED = 4
#: entries of environment.json that differ in each run
_OF_ONE_RUN = {"time", "command", "settings", "sha256"}


def write_report(
    paths: Iterable[Path | str],
    out: Path | None = None,
    *,
    reference: str | None = None,
    figures: Format | None = None,
) -> Path:
    """Write ``report.html``, a self-contained page on all runs in ``paths``.

    Args:
        paths: run folders or folders above them, see ``collect``; rows come in this order.
        out: folder, or file name that ends in ``.html``; default: the folder common to all paths.
        reference: label or strategy that paired differences refer to, see
            :func:`~cl_prompts.experiments.results.groups.choose`.
        figures: "pdf", "svg" or "png" also writes each chart as a figure of one column's width to
            the folder ``report_figures`` beside the page.

    Returns:
        The HTML file. It replaces an older report.

    Raises:
        InputError: see ``collect``; an unknown reference; ``out`` exists and is not a report of
            cl-prompts.
        OSError: the report cannot be written.
    """
    places = [Path(path) for path in paths]
    runs = collect(places)
    if out is None:
        out = Path(os.path.commonpath([place.resolve() for place in places]))
    page = out if out.suffix == ".html" else out / "report.html"
    if page.is_file() and _MARK not in page.read_text(errors="replace")[:1000]:
        raise InputError(
            f"{short(page)} is not a report of cl-prompts: remove it, or give --out another name"
        )
    html, charts = _render(runs, places, page.parent, reference)
    page.parent.mkdir(parents=True, exist_ok=True)
    replace(page, [html.encode(errors="backslashreplace")])
    if figures is not None:
        folder = page.with_name(f"{page.stem}_figures")
        folder.mkdir(exist_ok=True)
        for name, chart in charts.by_file.items():
            replace(folder / f"{name}.{figures}", [figure(chart, figures)])
    return page


def _render(
    runs: list[RunRecord], paths: list[Path], base: Path, reference: str | None
) -> tuple[str, Charts]:
    parts = choose(groups(runs), reference)
    charts = Charts(sorted({name for part in parts for name in part.names.values()}))
    jinja = Environment(
        loader=PackageLoader("cl_prompts.experiments.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    options = [] if reference is None else ["--reference", reference]
    html = jinja.get_template("report.html").render(
        title=", ".join(dict.fromkeys(str(run.summary["recipe"]) for run in runs)),
        library=Markup(vl_convert.javascript_bundle()),  # type: ignore[call-arg]
        themes=script_json([theme(), theme(dark=True)]),
        parts=[_group_fields(part, charts) for part in parts],
        bold=BOLD,
        metrics={metric.key for part in parts for metric in part.metrics},
        runs=runs,
        counted={run.folder for part in parts for run in part.runs},
        place=lambda path: Path(os.path.relpath(path.resolve(), base.resolve())).as_posix(),
        opening=opening(runs),
        before_after=before_after,
        before_after_headings=BEFORE_AFTER,
        memory=lambda run: memory_text(run.summary),
        label=label_of,
        order_table=order_table,
        unfinished=not all(run.finished for run in runs),
        environments=_environments(runs),
        commands=list(dict.fromkeys(str(run.summary.get("command") or "") for run in runs)),
        left_out={
            run.summary["dataset"]: run.summary for run in runs if run.summary.get("skipped_images")
        },
        report_command=shlex.join(["cl-prompts", "report", *map(str, paths), *options]),
    )
    return html, charts


def _group_fields(group: Group, charts: Charts) -> Fields:
    """Return everything that the template shows of a group; ``charts`` collects the charts."""
    # Memory has a column of its own.
    metrics = [metric for metric in group.metrics if metric.title != "trainable"]
    table = group.table(metrics)
    return {
        "group": group,
        "finding": finding(group),
        "notes": [*notes_of(group, table), *order_sentences(group)],
        "metrics": metrics,
        "table": table,
        "gaps": _gap_fields(group),
        "curves": curve_charts(group, charts),
        "streams": stream_charts(group, charts),
        "rows": [
            {
                "name": name,
                "tasks": task_chart(group.title, name, runs, charts),
                "runs": [(run, run_charts(group.title, name, run, charts)) for run in runs],
                "config": yaml_text(dict(runs[0].config)),
            }
            for name, runs in zip(group.names.values(), group.rows.values(), strict=True)
        ],
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


def _environments(runs: Sequence[RunRecord]) -> list[tuple[int, Fields]]:
    """Each different environment after its number of finished runs."""
    shared = [
        json.dumps({k: v for k, v in run.environment.items() if k not in _OF_ONE_RUN})
        for run in runs
        if run.finished
    ]
    return [(n, json.loads(text)) for text, n in Counter(shared).items()]


# ------------------------------------------------------------------------------- sentences


def opening(runs: Sequence[RunRecord]) -> str:
    """Return the dates of the runs, and the number of finished ones."""
    dates = sorted({str(run.environment["time"])[:10] for run in runs if run.finished})
    when = " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))
    finished = sum(run.finished for run in runs)
    text = f"{finished} of {len(runs)} run{'s' * (len(runs) != 1)} finished."
    return f"{when}: {text}" if when else text


def finding(group: Group) -> str:
    """Return one sentence on the paired tests of the headline metric.

    A row "beats" the reference or "loses to" it only where the difference is significant after
    Holm's correction. Upper bounds are left out. Empty without such a metric or other rows.
    """
    metrics = [one for one in group.metrics if one.key in _ABOUT]
    metrics = [one for one in metrics if group.values(one)[group.reference]]
    others = [row for row in group.rows if row not in (*group.bounds, group.reference)]
    if not metrics or not others:
        return ""
    metric = min(metrics, key=lambda one: _ABOUT.index(one.key))
    names, against = group.names, group.names[group.reference]
    found = {row: one for row, (one,) in group.table([metric]).items()}
    gaps = {row: found[row].difference for row in others}
    tested = {row: found[row] for row, gap in gaps.items() if gap is not None and gap.pairs > 1}
    if not tested:
        return f"{metric.name}: no strategy shares two seeds with {against}: no test."
    parts = _verdicts(group, tested, found[group.reference])
    untested = [names[row] for row in others if row not in tested]
    if untested:
        parts.append(f"not tested: {first_of(untested, _NAMED)}")
    return f"{metric.name}: {'; '.join(parts)} (paired t-tests at 5 %, after Holm's correction)."


def _verdicts(group: Group, tested: Mapping[str, Aggregate], theirs: Aggregate) -> list[str]:
    """Largest significant differences, then undecided comparisons."""
    names, against = group.names, group.names[group.reference]
    memories = {row: runs[0].summary.get("memory") or {} for row, runs in group.rows.items()}
    counts = {row: memory.get("samples") for row, memory in memories.items()}
    stored = {row: f"{names[row]} keeps {n:,} images" for row, n in counts.items() if n}
    gains = {row: one.difference.mean for row, one in tested.items() if one.difference}
    clear = [row for row, one in tested.items() if one.verdict == "significant"]
    differing = []
    for row in sorted(clear, key=lambda row: -abs(gains[row])):
        pairs = [(v, theirs.values[s]) for s, v in tested[row].values.items() if s in theirs.values]
        one_sign = len({ours > other for ours, other in pairs}) == 1
        differing.append(
            f"{names[row]} {'beats' if gains[row] > 0 else 'loses to'} {against}"
            f" {'on all' if one_sign else 'over'} {len(pairs)} seeds,"
            f" by {100 * abs(gains[row]):.1f} points on average"
            + (f" ({stored[row]})" if row in stored else "")
        )
    parts = [first_of(differing, _NAMED, "; ")] if differing else []
    if undecided := [names[row] for row in tested if row not in clear]:
        verb = "is" if len(undecided) == 1 else "are"
        shown = first_of(undecided, _NAMED)
        parts.append(f"{shown} {verb} not significantly different from {against}")
    return [*parts, *([stored[group.reference]] if group.reference in stored and clear else [])]
