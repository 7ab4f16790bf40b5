"""Comparison of finished runs: means, paired differences over seeds, and ranks.

Means and spreads are those of the report's table: both take the columns, rows and values of
:class:`~cl_prompts.experiments.results.sections.Section`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.results.columns import Column
from cl_prompts.experiments.results.comparable import notes_on
from cl_prompts.experiments.results.entries import Entry, power
from cl_prompts.experiments.results.sections import Section, in_short
from cl_prompts.experiments.results.side_by_side import Group, side_by_side
from cl_prompts.experiments.run_folder.runs import collect

#: columns compared by default, where runs have them
HEADLINES = ("a_auc", "a_last", "forgetting", "map_avg", "map_last")


@dataclass(frozen=True)
class Block:
    """The columns of one setting.

    Attributes:
        setting: ``key=value``; empty where there is one block.
        section: the runs.
        columns: what is compared.
        entries: by row, then in the order of columns; a row without runs is missing.
    """

    setting: str
    section: Section
    columns: tuple[Column, ...]
    entries: Mapping[str, Sequence[Entry]]


@dataclass(frozen=True)
class Table:
    """Runs that may be compared, or several settings of such runs side by side.

    Attributes:
        group: title, and what distinguishes its runs from those of other tables.
        rows: labels, in the order asked for.
        blocks: by setting.
        reference: row that differences refer to; empty where there is none.
        notes: sentences on what the numbers cannot tell.
    """

    group: Group
    rows: tuple[str, ...]
    blocks: tuple[Block, ...]
    reference: str
    notes: tuple[str, ...] = ()


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
        by: setting whose values stand side by side, see
            :func:`~cl_prompts.experiments.results.side_by_side.side_by_side`.
        reference: row that the others are compared with, see :func:`reference_row`.
        rows: labels or strategies to show, in this order; empty for all.
        metrics: keys of ``results`` in ``summary.json``; empty for the headline numbers.

    Raises:
        InputError: no finished run, or something that the runs do not have.
    """
    runs = [run for run in collect(paths) if run.finished]
    if not runs:
        raise InputError("none of these runs is finished: there is nothing to compare")
    groups = side_by_side(runs, by)
    place = {run.folder: number for number, run in enumerate(runs)}
    labels = [_labels(group, place) for group in groups]
    for name in (*rows, *([] if reference is None else [reference])):
        # A row need not be in every table, but it must be in one.
        if not any(named_rows(name, known) for known in labels):
            raise unknown("row", name, [label for known in labels for label in known])
    tables = []
    for group, known in zip(groups, labels, strict=True):
        chosen = [label for name in rows for label in named_rows(name, known)] if rows else known
        if chosen:
            tables.append(_table(group, list(dict.fromkeys(chosen)), reference, metrics))
    return tables


def _labels(group: Group, place: Mapping[Path, int]) -> list[str]:
    """Rows of all its sections, the one whose runs were named first at the top."""
    first: dict[str, int] = {}
    for section in group.sections.values():
        for label, runs in section.groups.items():
            number = min(place[run.folder] for run in runs)
            first[label] = min(number, first.get(label, number))
    return sorted(first, key=lambda label: first[label])


def named_rows(name: str, labels: Sequence[str]) -> list[str]:
    """Rows that a name means: the label itself, or all rows of a strategy."""
    if name in labels:
        return [name]
    # Rows of one strategy are labelled by its name, and by settings in brackets.
    return [label for label in labels if label.startswith(f"{name} (")]


def _table(
    group: Group, rows: Sequence[str], reference: str | None, metrics: Sequence[str]
) -> Table:
    one = reference_row(list(group.sections.values()), rows, reference)
    blocks = [
        _block(setting, section, rows, one, metrics) for setting, section in group.sections.items()
    ]
    notes: dict[str, list[str]] = {}
    for block in blocks:
        for sentence in _notes(block):
            notes.setdefault(sentence, []).append(block.setting)
    # Each once, after the settings that it is about unless these are all.
    written = [
        sentence if len(about) == len(blocks) else f"{', '.join(about)}: {sentence}"
        for sentence, about in notes.items()
    ]
    varied = [f"{row} ({in_short(group.varied[row])})" for row in rows if row in group.varied]
    if varied:
        written.append(
            f"from column to column these rows differ in other settings, too: {'; '.join(varied)}"
        )
    return Table(group, tuple(rows), tuple(blocks), one, tuple(written))


def reference_row(sections: Sequence[Section], rows: Sequence[str], name: str | None = None) -> str:
    """The row that differences refer to, in comparisons and in reports.

    Args:
        sections: what stands side by side.
        rows: of these, in the order asked for.
        name: label or strategy asked for; a table without it, and None, take the first row that did
            not see all data at once, or else the first.

    Raises:
        InputError: several rows have that name.
    """
    named = [] if name is None else named_rows(name, rows)
    if len(named) > 1:
        raise InputError(f"reference {name} could mean {' or '.join(named)}: write one of these")
    groups = [item for section in sections for item in section.groups.items()]
    bounds = {label for label, group in groups if group[0].whole_stream}
    streamed = [row for row in rows if row not in bounds]
    return next(iter([*named, *streamed, *rows]))


def _block(
    setting: str, section: Section, rows: Sequence[str], reference: str, metrics: Sequence[str]
) -> Block:
    columns = _columns(section, metrics)
    present = [row for row in rows if row in section.groups]
    entries = section.table(columns, rows=present, reference=reference)
    return Block(setting, section, columns, entries)


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


def _notes(block: Block) -> list[str]:
    """Limits of the numbers of a block, in sentences."""
    groups = block.section.groups
    seeds = {row: block.section.seeds[row] for row in block.entries}
    streamed = {row: found for row, found in seeds.items() if not groups[row][0].whole_stream}
    notes = []
    if len(set(streamed.values())) > 1:
        listed = "; ".join(f"{row}: {', '.join(found)}" for row, found in streamed.items())
        notes.append(
            f"rows have different seeds ({listed}), so no mean is bold; differences are over"
            " the seeds that both rows have"
        )
    elif streamed and len(next(iter(streamed.values()))) == 1:
        notes.append("one seed tells no spread: nothing is tested and nothing is bold")
    weak = power(entry for entries in block.entries.values() for entry in entries)
    if weak:
        notes.append(f"{weak[0].lower()}{weak[1:].removesuffix('.')}")
    notes += notes_on(run for row in block.entries for run in groups[row])
    bounds = [row for row in seeds if row not in streamed]
    if bounds and streamed:
        notes.append(f"{', '.join(bounds)} saw all data at once: a bound, not a competitor")
    return notes
