"""Comparisons written down: Markdown, LaTeX with booktabs, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from cl_prompts.checks import one_of
from cl_prompts.experiments.recipes.names import one_line
from cl_prompts.experiments.results.columns import Column
from cl_prompts.experiments.results.comparison import Block, Table
from cl_prompts.experiments.results.entries import CONFIDENCE, Entry

Format = Literal["markdown", "latex", "csv", "json"]
#: label of each row, and its texts with whether they are bold
Lines = Sequence[tuple[str, Sequence[tuple[str, bool]]]]

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
    latex = form == "latex"
    # Rules, and a box that shrinks what is too wide.
    blocks = [r"% needs \usepackage{booktabs} and \usepackage{adjustbox}"] if latex else []
    for number, table in enumerate(tables, start=1):
        blocks += _parts(table, number, latex=latex)
    return "\n\n".join(blocks)


def _parts(table: Table, number: int, *, latex: bool) -> Iterator[str]:
    """Heading, the three tables and the notes of one comparison."""
    group = table.group

    def write(kind: str, caption: str, lines: Lines) -> str:
        label = f"tab:{number}-{re.sub(r'[^a-z0-9]+', '-', group.title.lower()).strip('-')}-{kind}"
        return _latex(table, caption, lines, label) if latex else _markdown(table, caption, lines)

    def say(sentence: str) -> str:
        return f"% {one_line(sentence)}" if latex else markdown_text(sentence)

    yield say(group.title) if latex else f"## {markdown_text(group.title)}"
    if group.differs:
        yield say(f"Not comparable with {group.against}: {', '.join(group.differs)}.")
    missing = "--" if latex else "-"
    yield write("means", _MEANS, _lines(table, lambda entry: entry.text, missing, bold=True))
    # One row has nothing to differ from, and no rank.
    if len(table.rows) > 1:
        lines = _lines(table, _two_lines if latex else _difference, missing)
        gaps = [line for line in lines if line[0] != table.reference]
        yield write("differences", _GAPS.format(table.reference), gaps)
        yield write("ranks", _RANKS, _lines(table, _rank, missing))
    for note in table.notes:
        yield say(note if latex else f"{note[0].upper()}{note[1:]}.")


def _lines(
    table: Table, words: Callable[[Entry], str], missing: str, *, bold: bool = False
) -> Lines:
    """Rows of a table; ``missing`` under a setting in which a row has no runs."""
    lines = []
    for row in table.rows:
        texts: list[tuple[str, bool]] = []
        for block in table.blocks:
            found = block.entries.get(row)
            if found is None:
                texts += [(missing, False)] * len(block.columns)
            else:
                texts += [(words(entry), bold and entry.best) for entry in found]
        lines.append((row, texts))
    return lines


def _difference(entry: Entry) -> str:
    """A difference in percent points with its interval and test."""
    if entry.difference is None:
        return "-"
    seeds = f", {entry.difference.pairs} seeds" if entry.difference.known else ""
    return f"{_two_lines(entry)}{seeds}: {entry.verdict}".replace("\n", ", ")


def _two_lines(entry: Entry) -> str:
    """A difference and its interval above its test, for a narrow column."""
    mean, *rest = difference_parts(entry)
    return "\n".join([" ".join([mean, *rest[:1]]), *rest[1:]])


def difference_parts(entry: Entry) -> list[str]:
    """Mean, interval and test of a difference; the mean alone for one seed, "-" without any."""
    gap = entry.difference
    if gap is None:
        return ["-"]
    mean = f"{100 * gap.mean:+.1f}"
    if not gap.known:
        return [mean]
    interval = f"[{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
    return [mean, interval, f"p {_p(gap.p)} (Holm {_p(entry.p_holm).removeprefix('= ')})"]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _rank(entry: Entry) -> str:
    return "-" if entry.rank is None else f"{entry.rank:.2f}"


def _heading(column: Column) -> str:
    arrow = "" if column.best is None else "↑" if column.best is max else "↓"
    return f"{column.title} {arrow}".replace("\u00a0", " ").rstrip()


def _markdown(table: Table, caption: str, rows: Lines) -> str:
    headings = [
        f"{block.setting}: {_heading(column)}" if block.setting else _heading(column)
        for block in table.blocks
        for column in block.columns
    ]
    lines = [["strategy", *map(markdown_text, headings)], ["---"] * (1 + len(headings))]
    for row, entries in rows:
        texts = [f"**{markdown_text(x)}**" if bold else markdown_text(x) for x, bold in entries]
        lines.append([markdown_text(row), *texts])
    body = "\n".join(f"| {' | '.join(texts)} |" for texts in lines)
    return f"{markdown_text(caption)}\n\n{body}"


def markdown_text(text: str) -> str:
    """A text in which Markdown sees no column, HTML, formula or emphasis.

    >>> markdown_text("a|b <script>, p < 0.001, linear_probe@*x*")
    'a\\\\|b &lt;script>, p < 0.001, linear_probe@\\\\*x\\\\*'
    """
    # A < that HTML would take for the begin of an element; an _ inside of a word is no emphasis.
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", one_line(text))
    return re.sub(r"[\\`*|~$]|(?<=\])\(|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _latex(table: Table, caption: str, rows: Lines, label: str) -> str:
    columns = [_tex(_heading(column)) for block in table.blocks for column in block.columns]
    body = [_latex_row(["strategy", *columns]), r"\midrule"]
    if any(block.setting for block in table.blocks):
        body = [*_latex_settings(table.blocks), *body]
    for row, texts in rows:
        # Escaped before it is marked, since a mark consists of signs that would be escaped.
        marked = [rf"\textbf{{{_cell(text)}}}" if bold else _cell(text) for text, bold in texts]
        body.append(_latex_row([_tex(row), *marked]))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(table.group.title)}. {_tex(caption)}}}",
            rf"\label{{{label}}}",
            # At most as wide as the text; narrow tables keep their size.
            r"\begin{adjustbox}{max width=\linewidth}",
            rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"\toprule",
            *body,
            r"\bottomrule",
            *(rf"\end{{{name}}}" for name in ("tabular", "adjustbox", "table")),
        ]
    )


def _cell(text: str) -> str:
    """A text of one or several lines."""
    lines = [_tex(line) for line in text.split("\n")]
    if len(lines) == 1:
        return lines[0]
    return r"\begin{tabular}[t]{@{}r@{}}" + r" \\ ".join(lines) + r"\end{tabular}"


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"


def _latex_settings(blocks: Sequence[Block]) -> Iterator[str]:
    """A line with each setting above its columns, and rules below them."""
    heads = [""]
    rules = []
    # Columns of LaTeX count from 1, and the first one holds the names of rows.
    start = 2
    for block in blocks:
        width = len(block.columns)
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{_tex(block.setting)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    yield _latex_row(heads)
    yield " ".join(rules)


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
        "title": table.group.title,
        "differs": list(table.group.differs),
        "reference": table.reference or None,
        "notes": list(table.notes),
        "settings": [
            {
                "setting": block.setting or None,
                "rows": {
                    row: {c.key: _numbers(e) for c, e in zip(block.columns, found, strict=True)}
                    for row, found in block.entries.items()
                },
            }
            for block in table.blocks
        ],
    }


def _numbers(entry: Entry) -> dict[str, Any]:
    """All numbers of an entry, None where undefined."""
    gap = entry.difference
    numbers = {
        "seeds": len(entry.values),
        "mean": entry.mean,
        "std": entry.spread,
        "best": entry.best,
        "rank": entry.rank,
        "pairs": None if gap is None else gap.pairs,
    }
    for name in ("mean", "low", "high", "p"):
        numbers[f"difference_{name}"] = None if gap is None else _finite(getattr(gap, name))
    numbers["difference_p_holm"] = _finite(entry.p_holm)
    return {**numbers, "verdict": entry.verdict or None}


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _csv(tables: Sequence[Table]) -> str:
    lines = [
        {
            "table": table.group.title,
            "setting": block.setting,
            "strategy": row,
            "metric": column.key,
            "reference": table.reference,
            **_numbers(entry),
        }
        for table in tables
        for block in table.blocks
        for row, entries in block.entries.items()
        for column, entry in zip(block.columns, entries, strict=True)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().rstrip("\n")
