"""Comparisons written down: Markdown, LaTeX with booktabs, CSV and JSON."""

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
from cl_prompts.experiments.results.aggregates import CONFIDENCE, Aggregate
from cl_prompts.experiments.results.comparison import Table

Format = Literal["markdown", "latex", "csv", "json"]
#: by row, the text of each cell, of one or several lines, with whether it is bold
Rows = Mapping[str, Sequence[tuple[str, bool]]]

_SURE = f"{100 * CONFIDENCE:.0f} %"
_MEANS = (
    "Mean ± sample standard deviation over seeds. Bold: the best mean, and all whose paired"
    f" {_SURE} interval of the difference from it contains 0."
)
_GAPS = (
    f"Difference to {{}} in points, paired over seeds: mean [{_SURE} interval], p of the paired"
    " t-test, and in brackets p by Holm's correction for the rows of the column."
)
_RANKS = "Mean rank over seeds, 1 for the best."


def written(tables: Sequence[Table], form: Format = "markdown") -> str:
    """Tables as text, without a line break at the end.

    Args:
        tables: of :func:`~cl_prompts.experiments.results.comparison.compare`.
        form: Markdown and LaTeX for reading; CSV (long form) and JSON hold all numbers as
            fractions, unrounded.

    Raises:
        InputError: an unknown format.
    """
    one_of("format", form, Format)
    if form == "json":
        return json.dumps([_plain_table(table) for table in tables], indent=1)
    if form == "csv":
        return _csv(tables)
    if form == "markdown":
        return "\n\n".join(part for table in tables for part in _markdown(table))
    parts = [part for number, table in enumerate(tables, 1) for part in _latex(table, number)]
    # Rules, and a box that shrinks what is too wide.
    return "\n\n".join([r"% needs \usepackage{booktabs} and \usepackage{adjustbox}", *parts])


def _grids(table: Table) -> Iterator[tuple[str, Rows]]:
    """Caption and rows of the tables of means and, of several rows, differences and ranks."""
    rows = table.aggregates
    yield _MEANS, {row: [(e.text, e.best) for e in found] for row, found in rows.items()}
    # One row has nothing to differ from, and no rank.
    if len(rows) > 1:
        others = {row: found for row, found in rows.items() if row != table.reference}
        yield (
            _GAPS.format(table.reference),
            {
                row: [("\n".join(difference_lines(e)), False) for e in found]
                for row, found in others.items()
            },
        )
        yield _RANKS, {row: [(_rank(e), False) for e in found] for row, found in rows.items()}


def difference_lines(aggregate: Aggregate) -> list[str]:
    """Mean and interval of a difference, its test, and the verdict; "-" where no seed is shared."""
    gap = aggregate.difference
    if gap is None:
        return ["-"]
    mean = f"{100 * gap.mean:+.1f}"
    if not gap.known:
        return [mean, aggregate.verdict]
    return [
        f"{mean} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]",
        f"p {_p(gap.p)} (Holm {_p(aggregate.p_holm).removeprefix('= ')})",
        f"{gap.pairs} seeds: {aggregate.verdict}",
    ]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _rank(aggregate: Aggregate) -> str:
    return "-" if aggregate.rank is None else f"{aggregate.rank:.2f}"


def _headings(table: Table) -> list[str]:
    found = ["strategy"]
    for metric in table.metrics:
        arrow = "" if metric.best is None else " ↑" if metric.best is max else " ↓"
        found.append(f"{metric.title}{arrow}".replace("\u00a0", " "))
    return found


def _markdown(table: Table) -> Iterator[str]:
    yield f"## {markdown_text(table.title)}"
    if table.group.differs:
        yield markdown_text(_differs(table))
    headings = _headings(table)
    for caption, rows in _grids(table):
        lines = [list(map(markdown_text, headings)), ["---"] * len(headings)]
        for row, cells in rows.items():
            texts = [(markdown_text(text.replace("\n", ", ")), bold) for text, bold in cells]
            lines.append([markdown_text(row), *(f"**{t}**" if bold else t for t, bold in texts)])
        body = "\n".join(f"| {' | '.join(texts)} |" for texts in lines)
        yield f"{markdown_text(caption)}\n\n{body}"
    yield from map(markdown_text, table.notes)


def _differs(table: Table) -> str:
    return f"Not comparable with {table.group.reference}: {', '.join(table.group.differs)}."


def markdown_text(text: str) -> str:
    """A text in which Markdown sees no column, HTML, formula or emphasis.

    >>> markdown_text("a|b <script>, p < 0.001, linear_probe@*x*")
    'a\\\\|b &lt;script>, p < 0.001, linear_probe@\\\\*x\\\\*'
    """
    # A < that HTML would take for the begin of an element; an _ inside of a word is no emphasis.
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", one_line(text))
    return re.sub(r"[\\`*|~$]|(?<=\])\(|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _latex(table: Table, number: int) -> Iterator[str]:
    if table.group.differs:
        yield f"% {one_line(_differs(table))}"
    for part, (caption, rows) in enumerate(_grids(table), 1):
        lines = [_latex_row(map(_tex, _headings(table))), r"\midrule"]
        lines += [_latex_row([_tex(row), *map(_cell, cells)]) for row, cells in rows.items()]
        yield "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_tex(table.title)}. {_tex(caption)}}}",
                rf"\label{{tab:{number}-{part}}}",
                # At most as wide as the text; narrow tables keep their size.
                r"\begin{adjustbox}{max width=\linewidth}",
                rf"\begin{{tabular}}{{l{'r' * len(table.metrics)}}}",
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
    """Lines of a cell stand above each other."""
    text, bold = cell
    lines = r" \\ ".join(_tex(line) for line in text.split("\n"))
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
    }
)


def _tex(text: str) -> str:
    """A text with the signs of LaTeX escaped, on one line.

    >>> _tex("A_AUC % of 1 ± 2")
    'A\\\\_AUC \\\\% of 1 $\\\\pm$ 2'
    """
    return one_line(text).translate(_TEX)


def _plain_table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "differs": list(table.group.differs),
        "reference": table.reference,
        "notes": list(table.notes),
        "rows": {
            row: {c.key: _numbers(e) for c, e in zip(table.metrics, found, strict=True)}
            for row, found in table.aggregates.items()
        },
    }


def _numbers(aggregate: Aggregate) -> dict[str, Any]:
    """All numbers of an aggregate, None where undefined."""
    gap = aggregate.difference
    numbers = {
        "seeds": len(aggregate.values),
        "mean": aggregate.mean,
        "std": aggregate.spread,
        "best": aggregate.best,
        "rank": aggregate.rank,
        "pairs": None if gap is None else gap.pairs,
    }
    for name in ("mean", "low", "high", "p"):
        numbers[f"difference_{name}"] = None if gap is None else _finite(getattr(gap, name))
    numbers["difference_p_holm"] = _finite(aggregate.p_holm)
    return {**numbers, "verdict": aggregate.verdict or None}


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _csv(tables: Sequence[Table]) -> str:
    lines = [
        {
            "table": table.title,
            "strategy": row,
            "metric": metric.key,
            "reference": table.reference,
            **_numbers(aggregate),
        }
        for table in tables
        for row, aggregates in table.aggregates.items()
        for metric, aggregate in zip(table.metrics, aggregates, strict=True)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().rstrip("\n")
