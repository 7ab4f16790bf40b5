"""Comparisons as text: Markdown, LaTeX with booktabs, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from cl_prompts.checks import one_of
from cl_prompts.experiments.recipes.values import one_line
from cl_prompts.experiments.results.aggregates import CONFIDENCE, Aggregate, Difference
from cl_prompts.experiments.results.comparison import Table
from cl_prompts.experiments.results.metrics import memory_text

Format = Literal["markdown", "latex", "csv", "json"]
#: by row, the text of each cell, of one or several lines, and whether it is bold
Rows = Mapping[str, Sequence[tuple[str, bool]]]

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

    Raises:
        InputError: unknown format.
    """
    one_of("format", form, Format)
    if form in ("json", "csv"):
        records = [record for table in tables for record in _records(table)]
        return json.dumps(records, indent=1) if form == "json" else _csv(records)
    if form == "markdown":
        return "\n\n".join(part for table in tables for part in _markdown(table))
    parts = [part for number, table in enumerate(tables, 1) for part in _latex(table, number)]
    return "\n\n".join([r"% needs \usepackage{booktabs} and \usepackage{adjustbox}", *parts])


def _grids(table: Table) -> Iterator[tuple[str, list[str], Rows]]:
    """Caption, headings and rows: means; with several rows, also differences and ranks."""
    names, rows = table.group.names, table.aggregates
    headings = [f"{metric.title}{_ARROWS[metric.best]}" for metric in table.metrics]
    means = {}
    for row, found in rows.items():
        memory = memory_text(table.group.rows[row][0].summary)
        means[names[row]] = [*((one.text, one.best) for one in found), (memory, False)]
    yield _MEANS, [*headings, "memory"], means
    if len(rows) > 1:
        gaps = {
            names[row]: [("\n".join(difference_lines(one)), False) for one in found]
            for row, found in rows.items()
            if row != table.reference
        }
        yield _GAPS.format(names[table.reference]), headings, gaps
        ranks = {
            names[row]: [("-" if one.rank is None else f"{one.rank:.2f}", False) for one in found]
            for row, found in rows.items()
        }
        yield _RANKS, headings, ranks


def difference_lines(aggregate: Aggregate) -> list[str]:
    """Return mean and interval of a difference, then its test; "-" without common seeds."""
    gap = aggregate.difference
    if gap is None:
        return ["-"]
    mean = f"{100 * gap.mean:+.1f}"
    if not gap.known:
        return [mean, aggregate.verdict]
    p = aggregate.p_holm
    return [
        f"{mean} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]",
        f"{gap.pairs} seeds, p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}: {aggregate.verdict}",
    ]


def _markdown(table: Table) -> Iterator[str]:
    yield f"## {markdown_text(table.title)}"
    if table.group.differs:
        yield markdown_text(_differs(table))
    for caption, headings, rows in _grids(table):
        head = [markdown_text(text) for text in ("strategy", *headings)]
        lines = [head, ["---"] * len(head)]
        for row, cells in rows.items():
            texts = [(markdown_text(text.replace("\n", ", ")), bold) for text, bold in cells]
            lines.append([markdown_text(row), *(f"**{t}**" if bold else t for t, bold in texts)])
        body = "\n".join(f"| {' | '.join(texts)} |" for texts in lines)
        yield f"{markdown_text(caption)}\n\n{body}"
    yield from map(markdown_text, table.notes)


def _differs(table: Table) -> str:
    return f"Not comparable with {table.group.reference}: {', '.join(table.group.differs)}."


def markdown_text(text: str) -> str:
    """Escape a text for Markdown tables, also against HTML, formulas and emphasis.

    >>> markdown_text("a|b <script>, p < 0.001, linear_probe@*x*")
    'a\\\\|b &lt;script>, p < 0.001, linear_probe@\\\\*x\\\\*'
    """
    # A < that HTML would take for the begin of an element; an _ inside a word does not emphasise.
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", one_line(text).replace("\u00a0", " "))
    return re.sub(r"[\\`*|~$]|(?<=\])\(|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _latex(table: Table, number: int) -> Iterator[str]:
    if table.group.differs:
        yield f"% {one_line(_differs(table))}"
    for part, (caption, headings, rows) in enumerate(_grids(table), 1):
        lines = [_latex_row(map(_tex, ["strategy", *headings])), r"\midrule"]
        lines += [_latex_row([_tex(row), *map(_cell, cells)]) for row, cells in rows.items()]
        yield "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_tex(table.title)}. {_tex(caption)}}}",
                rf"\label{{tab:{number}-{part}}}",
                # At most as wide as the text; narrow tables keep their size.
                r"\begin{adjustbox}{max width=\linewidth}",
                rf"\begin{{tabular}}{{l{'r' * len(headings)}}}",
                r"\toprule",
                *lines,
                r"\bottomrule",
                *(rf"\end{{{name}}}" for name in ("tabular", "adjustbox", "table")),
            ]
        )
    yield from (f"% {one_line(note)}" for note in table.notes)


def _latex_row(texts: Iterable[str]) -> str:
    return " & ".join(texts) + r" \\"


def _cell(cell: tuple[str, bool]) -> str:
    """A cell whose lines stand above each other."""
    text, bold = cell
    # The p-value says what the verdict says.
    lines = r" \\ ".join(_tex(line.partition(": ")[0]) for line in text.split("\n"))
    stacked = rf"\shortstack[r]{{{lines}}}" if "\n" in text else lines
    return rf"\textbf{{{stacked}}}" if bold else stacked


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
    """Escape a text for LaTeX, with minus signs, on one line.

    >>> _tex("A_AUC % of -1 ± 2")
    'A\\\\_AUC \\\\% of $-$1 $\\\\pm$ 2'
    """
    return re.sub(r"(?<!\S)-(?=\d)|(?<=\[)-(?=\d)", "−", one_line(text)).translate(_TEX)


def _records(table: Table) -> Iterator[dict[str, Any]]:
    """All numbers of a table, one record for each row and metric; None where undefined."""
    for row, found in table.aggregates.items():
        for metric, one in zip(table.metrics, found, strict=True):
            gap = vars(one.difference or Difference(0, math.nan))
            yield {
                "table": table.title,
                "strategy": row,
                "metric": metric.key,
                "reference": table.reference,
                "seeds": len(one.values),
                "mean": one.mean,
                "std": one.spread,
                "best": one.best,
                "rank": one.rank,
                "pairs": gap["pairs"] or None,
                **{f"difference_{key}": _finite(gap[key]) for key in ("mean", "low", "high", "p")},
                "difference_p_holm": _finite(one.p_holm),
                "verdict": one.verdict or None,
            }


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().rstrip("\n")
