"""Comparisons as text: Markdown, LaTeX with booktabs, CSV and JSON."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from cl_prompts.experiments.results.aggregates import CONFIDENCE, Aggregate, Difference
from cl_prompts.experiments.results.comparison import Table, notes_of
from cl_prompts.experiments.results.metrics import memory_text
from cl_prompts.experiments.run_folder.files import csv_text, json_text

Format = Literal["markdown", "latex", "csv", "json"]
#: writes a cell of one or several lines, perhaps in bold
Cell = Callable[[Sequence[str], bool], str]

_SURE = f"{100 * CONFIDENCE:.0f} %"
#: meaning of bold in all tables of means
BOLD = (
    f"Bold: the best mean, and each mean whose difference from the best has a paired {_SURE}"
    " interval that contains 0. The worst mean is never bold."
)
_MEANS = f"Mean ± sample standard deviation over seeds. {BOLD}"
_GAPS = (
    f"Difference from {{}} in points: mean over paired seeds [{_SURE} interval], number of seeds,"
    " and p of the paired t-test (Holm's correction over rows)."
)
_RANKS = "Mean rank over seeds, 1 for the best."
_ARROWS: Mapping[Any, str] = {None: "", max: " ↑", min: " ↓"}


def written(tables: Sequence[Table], form: Format = "markdown") -> str:
    """Write tables as text, without a final line break.

    Args:
        tables: result of :func:`~cl_prompts.experiments.results.comparison.compare`.
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
    parts = [part for number, table in enumerate(tables, 1) for part in _latex(table, number)]
    return "\n\n".join([r"% needs \usepackage{booktabs} and \usepackage{adjustbox}", *parts])


def _grids(table: Table, cell: Cell) -> Iterator[tuple[str, list[list[str]]]]:
    """Caption and lines, the headings first: means; with several rows, differences and ranks."""
    group, rows = table.group, table.aggregates.items()
    names = {row: cell([name], False) for row, name in group.names.items()}
    titles = [f"{metric.title}{_ARROWS[metric.best]}" for metric in table.metrics]
    head = [cell([text], False) for text in ("strategy", *titles)]
    means = [[*head, cell(["memory"], False)]]
    gaps, ranks = [head], [head]
    for row, found in rows:
        memory = cell([memory_text(group.rows[row][0].summary)], False)
        means.append([names[row], *(cell([one.text], one.best) for one in found), memory])
        texts = ["-" if one.rank is None else f"{one.rank:.2f}" for one in found]
        ranks.append([names[row], *texts])
        if row != group.reference:
            gaps.append([names[row], *(cell(difference_lines(one), False) for one in found)])
    yield _MEANS, means
    if len(rows) > 1:
        yield _GAPS.format(group.names[group.reference]), gaps
        yield _RANKS, ranks


def difference_lines(aggregate: Aggregate) -> list[str]:
    """Return mean and interval of a difference, then its test; "-" without common seeds."""
    gap = aggregate.difference
    if gap is None:
        return ["-"]
    mean = f"{100 * gap.mean:+.1f}"
    if gap.pairs < 2:
        return [mean, aggregate.verdict]
    p = aggregate.p_holm
    return [
        f"{mean} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]",
        f"{gap.pairs} seeds, p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}: {aggregate.verdict}",
    ]


def _markdown(table: Table) -> Iterator[str]:
    yield f"## {markdown_text(table.group.title)}"
    yield from map(markdown_text, _differs(table))
    for caption, (head, *lines) in _grids(table, _markdown_cell):
        ruled = [head, ["---"] * len(head), *lines]
        body = "\n".join(f"| {' | '.join(line)} |" for line in ruled)
        yield f"{markdown_text(caption)}\n\n{body}"
    yield from map(markdown_text, notes_of(table.group, table.aggregates))


def _markdown_cell(lines: Sequence[str], bold: bool) -> str:
    escaped = markdown_text(", ".join(lines))
    return f"**{escaped}**" if bold else escaped


def _differs(table: Table) -> list[str]:
    group = table.group
    words = f"Not comparable with {group.differs_from}: {', '.join(group.differs)}."
    return [words] if group.differs else []


def markdown_text(text: str) -> str:
    """Escape a text for Markdown tables, also against HTML, formulas and emphasis.

    >>> markdown_text("a|b <script>, p < 0.001, linear_probe@*x*")
    'a\\\\|b &lt;script>, p < 0.001, linear_probe@\\\\*x\\\\*'
    """
    # A < that HTML would take for the begin of an element; an _ inside a word does not emphasise.
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text.replace("\u00a0", " "))
    return re.sub(r"[\\`*|~$]|(?<=\])\(|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _latex(table: Table, number: int) -> Iterator[str]:
    yield from map(_comment, _differs(table))
    for part, (caption, (head, *lines)) in enumerate(_grids(table, _latex_cell), 1):
        yield "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_tex(table.group.title)}. {_tex(caption)}}}",
                rf"\label{{tab:{number}-{part}}}",
                # At most as wide as the text; narrow tables keep their size.
                r"\begin{adjustbox}{max width=\linewidth}",
                rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
                r"\toprule",
                _latex_row(head),
                r"\midrule",
                *map(_latex_row, lines),
                r"\bottomrule",
                *(rf"\end{{{name}}}" for name in ("tabular", "adjustbox", "table")),
            ]
        )
    yield from map(_comment, notes_of(table.group, table.aggregates))


def _comment(text: str) -> str:
    return f"% {' '.join(text.split())}"  # a second line would be LaTeX


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(lines: Sequence[str], bold: bool) -> str:
    """A cell whose lines stand above each other."""
    text = _tex(lines[0])
    if len(lines) > 1:
        # The p-value says what the verdict says.
        second = _tex(lines[1].partition(": ")[0])
        text = rf"\shortstack[r]{{{text} \\ {second}}}"
    return rf"\textbf{{{text}}}" if bold else text


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


def _records(table: Table) -> Iterator[dict[str, Any]]:
    """All numbers of a table, one record for each row and metric; None where undefined."""
    for row, found in table.aggregates.items():
        for metric, one in zip(table.metrics, found, strict=True):
            values = [*one.values.values()]
            gap = vars(one.difference or Difference(0, math.nan))
            yield {
                "table": table.group.title,
                "strategy": row,
                "metric": metric.key,
                "reference": table.group.reference,
                "seeds": len(values),
                "mean": statistics.mean(values) if values else None,
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "best": one.best,
                "rank": one.rank,
                "pairs": gap["pairs"] or None,
                **{f"difference_{key}": _finite(gap[key]) for key in ("mean", "low", "high", "p")},
                "difference_p_holm": _finite(one.p_holm),
                "verdict": one.verdict or None,
            }


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
