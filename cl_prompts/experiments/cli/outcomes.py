"""Commands on finished runs, and the tables and reports at the end of others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from cl_prompts.errors import first_of
from cl_prompts.experiments.executors.signals import stop_says

if TYPE_CHECKING:
    from cl_prompts.experiments.results.comparison import Grid
    from cl_prompts.experiments.runner.running import Runs


def report(
    runs: Sequence[Path],
    *,
    out: Path | None = None,
    reference: str | None = None,
    figures: Literal["pdf", "svg", "png"] | None = None,
) -> None:
    """Write an HTML report on run folders.

    Args:
        runs: run folders, or folders above them, in the order of the rows.
        out: file to write (default: report.html in their common folder).
        reference: row that paired differences refer to (default: the first one).
        figures: also write each chart as a figure of one column's width, to report_figures beside
            the report.
    """
    from cl_prompts.experiments.report.page import write_report

    page = write_report(runs, out, reference=reference, figures=figures)
    print(f"report: {page}")


def compare(
    runs: Sequence[Path],
    *,
    reference: str | None = None,
    rows: str = "",
    metrics: str = "",
    format: Literal["markdown", "latex", "csv", "json"] | None = None,
) -> None:
    """Compare strategies over seeds: means and paired differences.

    Args:
        runs: run folders, or folders above them, in the order of the rows.
        reference: row that the others are compared with (default: the first one).
        rows: rows to show, in this order, separated by commas.
        metrics: such as a_auc,a_last_by_task (see summary.json).
        format: of the table (default: markdown, where it is not printed to a terminal).
    """
    from cl_prompts.experiments.recipes.values import divided
    from cl_prompts.experiments.results.comparison import compare as compared
    from cl_prompts.experiments.results.comparison import grids, notes_of, written

    # "mvp (lr=0.1, alpha=0.5)" is one row.
    chosen = {"rows": [*filter(None, divided(rows))], "metrics": [*filter(None, divided(metrics))]}
    found = compared(runs, reference=reference, **chosen)
    console = console_of()
    if format is None and console.is_terminal:
        for grid in (grid for one in found for grid in grids(one)):
            console.print(grid_table(grid, title=grid.title), Text(f"{grid.caption}\n"))
        console.print(*(Text(note) for one in found for note in notes_of(one.group)), sep="\n")
    else:
        print(written(found, format or "markdown"))
    from cl_prompts.experiments.run_folder.runs import unfinished

    if left := unfinished(runs):
        note = f"note: unfinished runs are left out: {first_of(map(str, left), 3)}"
        print(note, file=sys.stderr)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar, such as of "image files opened"."""
    console = console_of()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, visible=False)

        def report(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total, visible=True)

        yield report


def console_of() -> Console:
    """Return the console that a command prints to."""
    # Text for a file need not be broken at 80 columns; :cat: in a name is not an emoji.
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(emoji=False, width=None if has_width else 140)


def execute(runs: Runs, above: Path | None) -> None:
    """Execute runs, and report on the finished ones, also where another one fails."""
    try:
        runs.execute()
    finally:
        if runs.finished:
            conclude(runs.finished, above, runs.console)
    runs.conclude()


def conclude(folders: Sequence[Path], above: Path | None, console: Console) -> None:
    """Print the table of finished runs, and write their report into a folder above them."""
    place = quote(str(folders[0] if above is None else above))
    page = None if above is None else above / time.strftime("report-%Y%m%d-%H%M%S.html")
    again = f"stopped before the report was written; write it with: cl-prompts report {place}"
    with stop_says(again):
        from cl_prompts.experiments.report.page import write_report

        written = write_report(folders, page)
    with stop_says(f"stopped after the report was written: {written}"):
        for table in tables(folders):
            console.print(table)
    print(f"report: {written}")


def next_steps(folder: Path, above: Path | None = None) -> str:
    """Return two lines of commands that follow a run.

    Args:
        folder: of a run.
        above: folder of a comparison on a known data set; None: the images are the user's own.

    >>> print(next_steps(Path("latest")))
    next: cl-prompts predict latest IMAGE, cl-prompts evaluate latest FOLDER
          cl-prompts learn latest FOLDER, cl-prompts export latest --torch
    """
    if above is not None:
        place = quote(str(above))
        return (
            f"next: cl-prompts compare {place}, cl-prompts report {place} --figures pdf\n"
            "      on your own images: cl-prompts train FOLDER, cl-prompts init FOLDER"
        )
    run = quote(str(folder))
    return (
        f"next: cl-prompts predict {run} IMAGE, cl-prompts evaluate {run} FOLDER\n"
        f"      cl-prompts learn {run} FOLDER, cl-prompts export {run} --torch"
    )


def tables(folders: Sequence[Path]) -> Iterator[Table | Text]:
    """Yield a table and its finding for each group of comparable runs, with titles if several."""
    from cl_prompts.experiments.results.comparison import finding, means
    from cl_prompts.experiments.results.groups import groups
    from cl_prompts.experiments.results.history import curve_of
    from cl_prompts.experiments.results.metrics import PREQUENTIAL, WIDE
    from cl_prompts.experiments.run_folder.runs import collect

    found = groups(collect(folders))
    for group in found:
        # Measured at no cost where all rows are closed forms, with room for a column.
        free = [one for one in PREQUENTIAL[:1] if all(group.values(one).values())]
        metrics = [one for one in group.metrics if one in free or one not in WIDE]
        grid = means(group, metrics)
        yield grid_table(grid, title=group.title if len(found) > 1 else None)
        text, more = finding(group)
        if text:
            yield Text(f"{text}{more and f': add seeds with {more}'}\n")
        if any(len(curve_of(run)) == 1 for run in group.runs):
            yield Text("A_AUC has one point, the end: give a smaller evaluation.every.\n")


def grid_table(grid: Grid, title: str | None = None) -> Table:
    """Make a table of a grid, without the arrows of its headings."""
    head, *lines = grid.lines
    return table([cell.text.rstrip(" ↑↓") for cell in head], lines, title=title)


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
) -> Table:
    """Make a table of texts and of entries, the best of which are bold."""
    title = None if title is None else escape(title)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in headings:
        table.add_column(escape(name), justify="right" if name in right else "left")
    for row in rows:
        styles = ["bold" if getattr(cell, "best", False) else "" for cell in row]
        texts = [getattr(cell, "text", cell) for cell in row]
        table.add_row(*map(Text, texts, styles))
    return table
