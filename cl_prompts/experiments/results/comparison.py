"""Comparison of finished runs: means, paired differences, the lead, notes; also as text.

Report and command line show the same grids.
"""

import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from cl_prompts.errors import InputError, all_of, unknown
from cl_prompts.experiments.recipes.run_config import BUDGET
from cl_prompts.experiments.results.aggregates import Aggregate, Difference, lead
from cl_prompts.experiments.results.comparable import environment_notes
from cl_prompts.experiments.results.groups import Group, groups
from cl_prompts.experiments.results.metrics import (
    COMPUTE,
    NOISE,
    SHARE,
    WIDE,
    Best,
    Metric,
    memory_text,
)
from cl_prompts.experiments.run_folder.files import csv_text, json_text
from cl_prompts.experiments.run_folder.runs import RunRecord, collect

#: metrics compared by default, where runs have them
_HEADLINES = ("a_auc", "a_last", "forgetting", "map_avg", "map_last", *(n.key for n in NOISE))

_MEANS = (
    "Mean ± sample standard deviation over seeds. Bold: the best mean, if the paired 95 % interval"
    " of its difference from the next one excludes 0."
)
_COSTS = (
    "Means over seeds. F: forward passes of the frozen backbone, per stream image and per test"
    " image and evaluation. Memory: stored images, other numbers such as class means, trained"
    " parameters."
)
_GAPS = (
    "Mean over paired seeds [95 % interval], and p of the paired t-test (Holm's correction over"
    " rows). Bold: p below 0.05."
)
_ARROWS: Mapping[Best | None, str] = {None: "", max: " ↑", min: " ↓"}


class Table(NamedTuple):
    """Comparable runs, and the metrics that are compared."""

    group: Group
    metrics: Sequence[Metric]


class Cell(NamedTuple):
    """Text in a grid, perhaps in bold."""

    text: str
    best: bool = False


class Grid(NamedTuple):
    """Table of texts; the headings are its first line."""

    title: str
    caption: str
    lines: list[list[Cell]]


def compare(
    paths: Iterable[Path | str],
    *,
    reference: str | None = None,
    rows: Sequence[str] = (),
    metrics: Sequence[str] = (),
) -> list[Table]:
    """Compare runs in one table for each group of comparable runs.

    Args:
        paths: run folders, or folders above them; rows come in this order.
        reference: row that the others are compared with, see
            :func:`~cl_prompts.experiments.results.groups.choose`.
        rows: labels or strategies to show, in this order; empty for all.
        metrics: keys of ``results`` in ``summary.json``; empty for the headline metrics.

    Raises:
        InputError: no run is finished, or a row or metric is unknown.
    """
    parts = groups(collect(paths), reference, rows)
    if not parts:
        raise InputError("none of these runs is finished: there is nothing to compare")
    scores = [{one.key: one for one in (*group.metrics, *group.by_name)} for group in parts]
    known = {key for found in scores for key in found if key}
    for key in metrics:
        if key not in known:
            raise unknown("metric of these runs", key, known)
    return [
        Table(group, [found[key] for key in metrics if key in found] or headlines(group))
        for group, found in zip(parts, scores, strict=True)
    ]


def headlines(group: Group) -> list[Metric]:
    """Metrics compared by default, and the user's own."""
    metrics = [one for one in group.metrics if one not in WIDE]
    return [one for one in metrics if one.key in _HEADLINES or not one.best]


def means(group: Group, metrics: Sequence[Metric]) -> Grid:
    """Return means over seeds."""
    lines = [_head(metrics, "strategy", "seeds")]
    for row, found in group.table(metrics).items():
        texts = [Cell(one.text, one.best) for one in found]
        lines.append([Cell(row), Cell(str(len(group.rows[row]))), *texts])
    return _grid(group.title, _MEANS, lines)


def costs(group: Group) -> Grid:
    """Return what each strategy costs, and what it stores."""
    head, *lines = means(group, group.costs).lines
    lines = [[*line, Cell(memory_text(group.rows[line[0].text][0].summary))] for line in lines]
    return _grid("Costs", _COSTS, [[*head, Cell("memory")], *lines])


def gaps(group: Group, metrics: Sequence[Metric]) -> Grid:
    """Return paired differences from the reference."""
    found = {row: cells for row, cells in group.table(metrics).items() if row != group.reference}
    lines = [_head(metrics, "strategy", "seeds")]
    for row, cells in found.items():
        pairs = [cell.difference.pairs if cell.difference else 0 for cell in cells]
        seeds = "-".join(map(str, sorted({*pairs} or {0})))
        lines.append([Cell(row), Cell(seeds), *map(_gap, cells)])
    return _grid(f"{group.title}: difference from {group.reference} in points", _GAPS, lines)


def _grid(title: str, caption: str, lines: list[list[Cell]]) -> Grid:
    """Make a table without the columns that have only dashes."""
    columns = [one for one in zip(*lines, strict=True) if {*one[1:]} - {Cell("-")}]
    return Grid(title, caption, [[*line] for line in zip(*columns, strict=True)])


def _gap(aggregate: Aggregate) -> Cell:
    gap = aggregate.difference
    if gap is None:
        return Cell("-")
    mean = f"{100 * gap.mean:+.1f}"
    if gap.pairs < 2:
        return Cell(mean)
    # With no-break spaces, so that a narrow column breaks before p alone.
    interval = f"[{100 * gap.low:+.1f},\u00a0{100 * gap.high:+.1f}]"
    p_text = _p_text(aggregate).replace(" ", "\u00a0")
    return Cell(f"{mean}\u00a0{interval}, {p_text}", aggregate.significant)


def _p_text(aggregate: Aggregate) -> str:
    return "p < 0.001" if aggregate.p_holm < 0.001 else f"p = {aggregate.p_holm:.3f}"


def finding(group: Group) -> tuple[str, str]:
    """Return the lead of the best row over the next, and the command that adds seeds to a test.

    The lead is in the headline score, see :func:`~cl_prompts.experiments.results.aggregates.lead`.
    Both are empty without a second row to compare.
    """
    metric = group.headline
    ahead = lead(group.values(metric), metric, group.bounds) if metric else None
    if metric is None or ahead is None:
        return "", ""
    first, second, gap = ahead
    if not gap.mean:
        return f"{metric.name}: {first} and {second} have the same mean", ""
    text = f"{metric.name}: {first} leads: {100 * gap.mean:.1f} points above {second}"
    if gap.pairs == 1:
        return f"{text} (one seed: no interval)", _more_seeds(group)
    text += f" [{100 * gap.low:.1f}, {100 * gap.high:.1f}], {gap.pairs} seeds"
    if gap.clear:
        return text, ""
    return f"{text}. The 95 % interval contains 0", _more_seeds(group)


def _more_seeds(group: Group) -> str:
    """The command of the runs with five further seeds; empty if they have no common command."""
    commands = {str(run.summary.get("command") or "") for run in group.runs}
    words = commands.pop().split(" ") if len(commands) == 1 else []
    if words[1:2] not in (["run"], ["sweep"]) or "--resume" in words:
        return ""
    last = max(int(run.summary["seed"]) for run in group.runs)
    kept = [word for word in words if not word.startswith(("seed=", "seeds="))]
    return " ".join([*kept, f"seed={last + 1}-{last + 5}"])


def _head(metrics: Sequence[Metric], *first: str) -> list[Cell]:
    titles = [f"{metric.title}{_ARROWS[metric.best]}" for metric in metrics]
    return [*map(Cell, [*first, *titles])]


def notes_of(group: Group) -> list[str]:
    """Return sentences on the limits of the numbers of a group."""
    seeds = {row: found for row, found in group.seeds.items() if row not in group.bounds}
    notes = []
    if len(set(seeds.values())) > 1:
        notes.append("Rows have different seeds: differences and bold use those in common.")
    if any(len(found) == 1 for found in seeds.values()):
        notes.append("A row with one seed is not tested, and is never bold.")
    if any(len(found) == 2 for found in seeds.values()):
        notes.append("Two seeds show only large leads.")
    if any(run.order for run in group.runs):
        notes.append("Each class order of a seed counts as one of the seeds.")
    if group.replaced:
        notes.append(f"Older runs of the same settings and seed do not count: {group.replaced}.")
    for row, runs in group.rows.items():
        tuned = dict.fromkeys(run.config.get("tuned_on") for run in runs)
        notes += [f"Settings of {row} were tuned on {text}." for text in tuned if text]
        spent = max(COMPUTE.value(run.summary) or 0.0 for run in runs)
        limit = runs[0].identity["settings"].get(BUDGET)
        if limit is not None and spent >= limit + 0.005:
            notes.append(f"{row} spent {spent:.2f} F an image, above its budget of {limit:g} F.")
    notes += environment_notes(group.runs)
    if group.bounds and seeds:
        shown = all_of(group.bounds)
        notes.append(f"{shown}: trained on all data at once, never bold.")
    free = [row for row, runs in group.rows.items() if all(map(_order_free, runs))]
    if free:
        score = "last mAP" if group.multi_label else "A_last"
        notes.append(f"{score} does not depend on the order of the stream: {', '.join(free)}.")
    return notes


def _order_free(run: RunRecord) -> bool:
    # A budget skips images by their order.
    return bool(run.summary.get("order_free")) and SHARE.value(run.summary) in (None, 1)


# ------------------------------------------------------------------------------------ as text

Format = Literal["markdown", "latex", "csv", "json"]


def written(tables: Sequence[Table], form: Format = "markdown") -> str:
    """Write tables as text, without a final line break.

    Args:
        tables: result of :func:`compare`.
        form: Markdown and LaTeX are for readers; CSV and JSON hold one record for
            each row and metric, with unrounded fractions.
    """
    if form in ("json", "csv"):
        records = [record for table in tables for record in _records(table)]
        if form == "json":
            return json_text(records)
        return csv_text([records[0], *(record.values() for record in records)])
    if form == "markdown":
        return "\n\n".join(part for table in tables for part in _markdown(table))
    parts = [part for table in tables for part in _latex(table)]
    return "\n\n".join([r"% needs \usepackage{booktabs}", *parts])


def grids(table: Table) -> list[Grid]:
    """Return means, costs and, with several rows, differences."""
    found = [means(*table), costs(table.group), gaps(*table)]
    return found if len(table.group.rows) > 1 else found[:2]


def _markdown(table: Table) -> Iterator[str]:
    for title, caption, (head, *lines) in grids(table):
        ruled = [head, [Cell("---")] * len(head), *lines]
        body = "\n".join(f"| {' | '.join(map(_markdown_cell, line))} |" for line in ruled)
        yield f"## {markdown_text(title)}\n\n{markdown_text(caption)}\n\n{body}"
    yield from map(markdown_text, notes_of(table.group))


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    return f"**{text}**" if cell.best else text


def markdown_text(text: str) -> str:
    """Escape a text for Markdown tables, also against HTML, formulas and emphasis.

    >>> markdown_text("a|b <script>, p < 0.001, linear_probe@*x*")
    'a\\\\|b &lt;script>, p < 0.001, linear_probe@\\\\*x\\\\*'
    """
    # A < that HTML would take for the begin of an element; an _ inside a word does not emphasise.
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text.replace("\u00a0", " "))
    return re.sub(r"[\\`*|~$]|(?<=\])\(|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _latex(table: Table) -> Iterator[str]:
    for title, caption, (head, *lines) in grids(table):
        rows = [r"\toprule", _latex_row(head), r"\midrule", *map(_latex_row, lines), r"\bottomrule"]
        begin = rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}"
        yield "\n".join([_comment(title), _comment(caption), begin, *rows, r"\end{tabular}"])
    yield from map(_comment, notes_of(table.group))


def _comment(text: str) -> str:
    return f"% {' '.join(text.split())}"  # a second line would be LaTeX


def _latex_row(cells: Sequence[Cell]) -> str:
    texts = [rf"\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text) for cell in cells]
    return " & ".join(texts) + r" \\"


_TEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "%&_#${}"},
        **{sign: f"${sign}$" for sign in "<>|"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "\u00a0": "~",
        "−": "$-$",
    }
)


def _tex(text: str) -> str:
    """Escape a text for LaTeX, with minus signs.

    >>> _tex("A_AUC % of -1 ± 2")
    'A\\\\_AUC \\\\% of $-$1 $\\\\pm$ 2'
    """
    return re.sub(r"(?<!\S)-(?=\d)|(?<=\[)-(?=\d)", "−", text).translate(_TEX)


def _records(table: Table) -> Iterator[dict[str, object]]:
    """All numbers of a table, one record for each row and metric; None where undefined."""
    for row, found in table.group.table(table.metrics).items():
        for metric, one in zip(table.metrics, found, strict=True):
            values = [*one.values.values()]
            gap = vars(one.difference or Difference(0, math.nan))
            record = {
                "table": table.group.title,
                "strategy": row,
                "metric": metric.key,
                "reference": table.group.reference,
                "seeds": len(values),
                "mean": statistics.mean(values) if values else None,
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "best": one.best,
                **{f"difference_{key}": value for key, value in gap.items()},
                "difference_p_holm": one.p_holm,
                "significant": one.significant,
            }
            # NaN is the only value that differs from itself.
            yield {key: value if value == value else None for key, value in record.items()}
