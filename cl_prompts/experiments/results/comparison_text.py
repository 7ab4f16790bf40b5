"""Comparisons written down: Markdown, LaTeX with booktabs, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from cl_prompts.checks import one_of
from cl_prompts.experiments.results.cells import Cell
from cl_prompts.experiments.results.columns import Column
from cl_prompts.experiments.results.comparison import Block, Table
from cl_prompts.experiments.results.paired import CONFIDENCE, Difference

Format = Literal["markdown", "latex", "csv", "json"]
Words = Callable[[Cell], str]

_SURE = f"{100 * CONFIDENCE:.0f} %"
_MEANS = (
    "Mean ± sample standard deviation over seeds. Bold: the best mean, and all whose paired"
    f" {_SURE} interval of the difference from it contains 0."
)
_GAPS = (
    "Difference to {reference} in points, paired over seeds: mean ["
    + _SURE
    + " interval] and p of the"
    " paired t-test; p of Holm's correction counts the rows of the column."
)
_SHORT = " n.s.: not significant."
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
    blocks = [block for table in tables for block in _parts(table, latex=form == "latex")]
    return "\n\n".join(blocks)


def _parts(table: Table, *, latex: bool) -> Iterator[str]:
    """Heading, the three tables and the notes of one comparison."""
    yield f"% {table.title}" if latex else f"## {table.title}"
    if table.differs:
        said = f"Not comparable with {table.against}: {', '.join(table.differs)}."
        yield f"% {said}" if latex else said
    grid = _latex if latex else _markdown
    yield grid(table, _MEANS, lambda cell: cell.text, bold=True)
    if len(table.rows) > 1:
        if table.reference:
            caption = _GAPS.format(reference=table.reference) + (_SHORT if latex else "")
            words = short_gap if latex else _gap
            yield grid(table, caption, words, without=table.reference)
        yield grid(table, _RANKS, _rank)
    for note in table.notes:
        yield f"% {note}" if latex else f"{note[0].upper()}{note[1:]}."


def _gap(cell: Cell) -> str:
    """A difference in percent points with its interval and test."""
    gap = cell.difference
    if gap is None:
        return "-"
    seeds = f", {gap.pairs} seeds" if gap.known else ""
    return f"{_interval(gap)}{seeds}: {cell.verdict}"


def short_gap(cell: Cell) -> str:
    """The same for a narrow column."""
    gap = cell.difference
    if gap is None:
        return "-"
    return _interval(gap) + (", n.s." if cell.verdict != "significant" else "")


def _interval(gap: Difference) -> str:
    mean = f"{100 * gap.mean:+.1f}"
    if not gap.known:
        return mean
    p = "p < 0.001" if gap.p < 0.001 else f"p = {gap.p:.3f}"
    return f"{mean} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}], {p}"


def _rank(cell: Cell) -> str:
    return "-" if cell.rank is None else f"{cell.rank:.2f}"


def _heading(column: Column) -> str:
    arrow = "↑" if column.best is max else "↓"
    return f"{column.title} {arrow}".replace("\u00a0", " ")


def _grid_rows(table: Table, words: Words, without: str) -> Iterator[tuple[str, list[Cell | None]]]:
    """Label and cells of each row; None for a setting in which the row has no runs."""
    for row in table.rows:
        if row == without:
            continue
        cells: list[Cell | None] = []
        for block in table.blocks:
            cells += block.cells.get(row) or [None] * len(block.columns)
        yield row, cells


def _markdown(
    table: Table, caption: str, words: Words, *, bold: bool = False, without: str = ""
) -> str:
    headings = [
        f"{block.setting}: {_heading(column)}" if block.setting else _heading(column)
        for block in table.blocks
        for column in block.columns
    ]
    lines = [["strategy", *headings], ["---"] * (1 + len(headings))]
    for row, cells in _grid_rows(table, words, without):
        texts = ["-" if cell is None else words(cell) for cell in cells]
        marked = [
            f"**{text}**" if bold and cell is not None and cell.best else text
            for cell, text in zip(cells, texts, strict=True)
        ]
        lines.append([row, *marked])
    body = "\n".join(f"| {' | '.join(_escaped(text) for text in line)} |" for line in lines)
    return f"{caption}\n\n{body}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _latex(
    table: Table, caption: str, words: Words, *, bold: bool = False, without: str = ""
) -> str:
    blocks = table.blocks
    lines = [
        r"\begin{table}",
        rf"\caption{{{_tex(table.title)}. {_tex(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * sum(len(block.columns) for block in blocks)}}}",
        r"\toprule",
    ]
    if any(block.setting for block in blocks):
        lines += _latex_settings(blocks)
    columns = [_tex(_heading(column)) for block in blocks for column in block.columns]
    lines += [" & ".join(["strategy", *columns]) + r" \\", r"\midrule"]
    for row, cells in _grid_rows(table, words, without):
        texts = ["--" if cell is None else _tex(words(cell)) for cell in cells]
        marked = [
            rf"\textbf{{{text}}}" if bold and cell is not None and cell.best else text
            for cell, text in zip(cells, texts, strict=True)
        ]
        lines.append(" & ".join([_tex(row), *marked]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _latex_settings(blocks: Sequence[Block]) -> Iterator[str]:
    """A line with each setting above its columns, and rules below them."""
    heads, rules, start = [""], [], 2
    for block in blocks:
        width = len(block.columns)
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{_tex(block.setting)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    yield " & ".join(heads) + r" \\"
    yield " ".join(rules)


_TEX = {
    **{sign: f"\\{sign}" for sign in "%&_#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "<": "$<$",
    "\u00a0": "~",
}


def _tex(text: str) -> str:
    """A text with the signs of LaTeX escaped.

    >>> _tex("A_AUC % of 1 ± 2")
    'A\\\\_AUC \\\\% of 1 $\\\\pm$ 2'
    """
    return "".join(_TEX.get(sign, sign) for sign in text)


def _plain_table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "differs": list(table.differs),
        "reference": table.reference or None,
        "notes": list(table.notes),
        "settings": [
            {
                "setting": block.setting or None,
                "rows": {row: _plain_row(block, row) for row in table.rows if row in block.cells},
            }
            for block in table.blocks
        ],
    }


def _plain_row(block: Block, row: str) -> dict[str, Any]:
    pairs = zip(block.columns, block.cells[row], strict=True)
    return {column.key: _numbers(cell) for column, cell in pairs}


def _numbers(cell: Cell) -> dict[str, Any]:
    """All numbers of a cell, None where undefined."""
    values, gap = list(cell.values.values()), cell.difference
    found: dict[str, Any] = {
        "seeds": len(values),
        "mean": statistics.mean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "best": cell.best,
        "rank": cell.rank,
    }
    names = ("pairs", "mean", "low", "high", "p")
    for name in names:
        value = None if gap is None else getattr(gap, name)
        found[name if name == "pairs" else f"difference_{name}"] = _finite(value)
    return {**found, "difference_p_holm": _finite(cell.p_holm), "verdict": cell.verdict or None}


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _csv(tables: Sequence[Table]) -> str:
    out = io.StringIO()
    writer: Any = None
    for table in tables:
        for block in table.blocks:
            for row in block.cells:
                for key, numbers in _plain_row(block, row).items():
                    place = {
                        "table": table.title,
                        "setting": block.setting,
                        "strategy": row,
                        "metric": key,
                        "reference": table.reference,
                    }
                    line = {**place, **numbers}
                    if writer is None:
                        writer = csv.DictWriter(out, line, lineterminator="\n")
                        writer.writeheader()
                    writer.writerow(line)
    return out.getvalue().rstrip("\n")
