"""Comparison of finished runs: means, paired differences over seeds, and ranks.

Means and spreads are those of the report's table: both take the columns, rows and values of
:class:`~cl_prompts.experiments.results.sections.Section`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.results.columns import Column
from cl_prompts.experiments.results.comparable import notes_on
from cl_prompts.experiments.results.entries import Entry, power
from cl_prompts.experiments.results.sections import Section, sections
from cl_prompts.experiments.run_folder.runs import Run, collect

#: columns compared by default, where runs have them
HEADLINES = ("a_auc", "a_last", "forgetting", "map_avg", "map_last")


@dataclass(frozen=True)
class Table:
    """Runs that may be compared.

    Attributes:
        title: of the section, and the value of the setting that divides tables.
        section: the runs.
        columns: what is compared.
        entries: by row in the order asked for, in the order of columns.
        reference: row that differences refer to.
        notes: sentences on what the numbers cannot tell.
    """

    title: str
    section: Section
    columns: tuple[Column, ...]
    entries: Mapping[str, Sequence[Entry]]
    reference: str
    notes: tuple[str, ...]


def compare(
    paths: Iterable[Path | str],
    *,
    by: str | None = None,
    reference: str | None = None,
    rows: Sequence[str] = (),
    metrics: Sequence[str] = (),
) -> list[Table]:
    """Compare runs, a table for each set of runs that may be compared.

    Args:
        paths: run folders, or folders above some; rows come in this order.
        by: setting whose values have tables of their own, dotted (``scenario.blurry_percent``) or
            bare; "dataset", "scenario", "backbone" or "recipe".
        reference: row that the others are compared with, see :func:`reference_row`.
        rows: labels or strategies to show, in this order; empty for all.
        metrics: keys of ``results`` in ``summary.json``; empty for the headline numbers.

    Raises:
        InputError: no finished run, or something that the runs do not have.
    """
    runs = [run for run in collect(paths) if run.finished]
    if not runs:
        raise InputError("none of these runs is finished: there is nothing to compare")
    parts = [
        (f"{section.title} ({value})" if value else section.title, section)
        for value, members in _by_value(runs, by).items()
        for section in sections(members)
    ]
    labels = [label for _, section in parts for label in section.groups]
    for name in (*rows, *([] if reference is None else [reference])):
        # A row need not be in every table, but it must be in one.
        if not named_rows(name, labels):
            raise unknown("row", name, labels)
    tables = []
    for title, section in parts:
        known = list(section.groups)
        chosen = [label for name in rows for label in named_rows(name, known)] if rows else known
        if chosen:
            row = reference_row(section, chosen, reference)
            columns = _columns(section, metrics)
            entries = section.table(columns, rows=dict.fromkeys(chosen), reference=row)
            tables.append(Table(title, section, columns, entries, row, _notes(section, entries)))
    return tables


def _by_value(runs: Sequence[Run], key: str | None) -> dict[str, list[Run]]:
    """Runs by ``key=value`` of a setting; all under "" without a key."""
    if key is None:
        return {"": list(runs)}
    settings = [{**run.identity["settings"], "recipe": run.summary["recipe"]} for run in runs]
    known = dict.fromkeys(name for one in settings for name in one)
    named = [name for name in known if name in (key, f"{key}.name")]
    named = named or [name for name in known if name.rpartition(".")[2] == key]
    if not named:
        raise unknown("setting of these runs", key, known)
    if len(named) > 1:
        raise InputError(f"{key} could mean {' or '.join(named)}: write one of these")
    found = defaultdict(list)
    for run, one in zip(runs, settings, strict=True):
        value = one.get(named[0], "unset")
        found[f"{key}={value if isinstance(value, str) else json.dumps(value)}"].append(run)
    return found


def named_rows(name: str, labels: Sequence[str]) -> list[str]:
    """Rows that a name means: the label itself, or all rows of a strategy."""
    if name in labels:
        return [name]
    # Rows of one strategy are labelled by its name, and by settings in brackets.
    return [label for label in labels if label.startswith(f"{name} (")]


def reference_row(section: Section, rows: Sequence[str], name: str | None = None) -> str:
    """The row that differences refer to, in comparisons and in reports.

    Args:
        section: the table.
        rows: of it, in the order asked for.
        name: label or strategy asked for; a table without it, and None, take the first row that did
            not see all data at once, or else the first.

    Raises:
        InputError: several rows have that name.
    """
    named = [] if name is None else named_rows(name, rows)
    if len(named) > 1:
        raise InputError(f"reference {name} could mean {' or '.join(named)}: write one of these")
    streamed = [row for row in rows if not section.groups[row][0].whole_stream]
    return next(iter([*named, *streamed, *rows]))


def _columns(section: Section, metrics: Sequence[str]) -> tuple[Column, ...]:
    scores = [c for c in (*section.columns, *section.by_name) if c.best is not None]
    known = {column.key: column for column in (*scores, *section.own_scores)}
    own = [column.key for column in section.own_scores]
    # With several labels, forgetting is a number by name and no headline.
    hidden = "forgetting" if section.multi_label else ""
    headlines = [key for key in (*HEADLINES, *own) if key in known and key != hidden]
    for key in metrics:
        if key not in known:
            raise unknown("metric of these runs", key, known)
    return tuple(known[key] for key in metrics or headlines)


def _notes(section: Section, entries: Mapping[str, Sequence[Entry]]) -> tuple[str, ...]:
    """Limits of the numbers, in sentences."""
    bounds = [row for row in entries if section.groups[row][0].whole_stream]
    seeds = {row: section.seeds[row] for row in entries if row not in bounds}
    notes = []
    if len(set(seeds.values())) > 1:
        listed = "; ".join(f"{row}: {', '.join(found)}" for row, found in seeds.items())
        notes.append(
            f"Rows have different seeds ({listed}), so no mean is bold; differences are over"
            " the seeds that both rows have."
        )
    elif seeds and len(next(iter(seeds.values()))) == 1:
        notes.append("One seed tells no spread: nothing is tested and nothing is bold.")
    notes.append(power(entry for found in entries.values() for entry in found))
    notes += notes_on(run for row in entries for run in section.groups[row])
    if bounds and seeds:
        notes.append(f"{', '.join(bounds)} saw all data at once: a bound, not a competitor.")
    return tuple(filter(None, notes))
