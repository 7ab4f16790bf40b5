"""Comparisons as text: Markdown, LaTeX with booktabs, CSV and JSON."""

import math
import re
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from cl_prompts.experiments.results import comparison
from cl_prompts.experiments.results.aggregates import Difference
from cl_prompts.experiments.results.comparison import Cell, Grid, Table
from cl_prompts.experiments.run_folder.files import csv_text, json_text

Format = Literal["markdown", "latex", "csv", "json"]


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
    parts = [part for table in tables for part in _latex(table)]
    return "\n\n".join([r"% needs \usepackage{booktabs}", *parts])


def grids(table: Table) -> list[Grid]:
    """Return means, costs and, with several rows, differences."""
    found = [comparison.means(*table), comparison.costs(table.group), comparison.gaps(*table)]
    return found if len(table.group.rows) > 1 else found[:2]


def _markdown(table: Table) -> Iterator[str]:
    for title, caption, (head, *lines) in grids(table):
        ruled = [head, [Cell("---")] * len(head), *lines]
        body = "\n".join(f"| {' | '.join(map(_markdown_cell, line))} |" for line in ruled)
        yield f"## {markdown_text(title)}\n\n{markdown_text(caption)}\n\n{body}"
    yield from map(markdown_text, comparison.notes_of(table.group))


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
    yield from map(_comment, comparison.notes_of(table.group))


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


def _records(table: Table) -> Iterator[dict[str, Any]]:
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
