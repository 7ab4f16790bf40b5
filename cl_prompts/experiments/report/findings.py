"""The first lines of a report: when, how much of the plan, and what the paired tests hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cl_prompts.experiments.results.entries import Entry
from cl_prompts.experiments.results.sections import Section
from cl_prompts.experiments.run_folder.plans import planned_with
from cl_prompts.experiments.run_folder.runs import Run

#: columns that the sentence can be about: the first that the reference has
_ABOUT = ("a_auc", "map_avg", "a_last", "map_last")
#: rows of one verdict that are named one by one
_NAMED = 3


def opening(runs: Sequence[Run]) -> str:
    """Dates of the runs, and how many of those planned are finished.

    Raises:
        InputError: a plan above the runs is damaged.
    """
    times = [str(run.environment.get("time", "")) for run in runs]
    dates = sorted({time[:10] for time in times if re.match(r"\d{4}-\d\d-\d\d", time)})
    when = " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))
    folders = {run.folder.resolve() for run in runs}
    planned = folders | planned_with(folders)
    finished = sum(run.finished for run in runs)
    text = f"{finished} of {len(planned)} run{'s' * (len(planned) != 1)} finished."
    missing = len(planned) - len(folders)
    if missing:
        text += f" {missing} planned {'runs are' if missing > 1 else 'run is'} not in this report."
    return f"{when}: {text}" if when else text


def finding(section: Section, reference: str) -> str:
    """One sentence on what the paired tests of a table hold for its headline number.

    A row "beats" the reference, or "loses to" it, only where the difference is significant after
    Holm's correction; "on all seeds" stands where it has that sign at each seed that both have.
    Bounds, which saw all data at once, are left out.

    Args:
        section: the table.
        reference: row that differences refer to.

    Returns:
        The sentence; empty where the reference has no such number, or is the only row.
    """
    known = {column.key: column for column in section.columns}
    columns = [known[key] for key in _ABOUT if key in known]
    column = next((c for c in columns if section.values(c.value)[reference]), None)
    if column is None:
        return ""
    entries = {row: found[0] for row, found in section.table([column], reference=reference).items()}
    others = {
        row: entry
        for row, entry in entries.items()
        if row != reference and not section.groups[row][0].whole_stream
    }
    if not others:
        return ""
    tested = {row: e for row, e in others.items() if e.difference and e.difference.known}
    name = column.title.partition("\u00a0")[0]
    if not tested:
        return f"{name}: no strategy shares two seeds with {reference}, so nothing is tested."
    parts = _verdicts(tested, entries[reference], reference)
    untested = [row for row in others if row not in tested]
    if untested:
        parts.append(f"too few seeds of {_few(untested)} for a test")
    return f"{name}: {'; '.join(parts)} (paired t-tests at 5 %, after Holm's correction)."


def _verdicts(tested: Mapping[str, Entry], theirs: Entry, reference: str) -> list[str]:
    """Outcome of each test: the greatest gains, the greatest losses, and what stays open."""
    gains = {row: e.difference.mean for row, e in tested.items() if e.difference}
    clear = [row for row, entry in tested.items() if entry.verdict == "significant"]
    ranked = sorted(clear, key=lambda row: -gains[row])
    better = [row for row in ranked if gains[row] > 0]
    worse = [row for row in reversed(ranked) if gains[row] < 0]
    parts = []
    for rows, verb in ((better, "beats"), (worse, "loses to")):
        for row in rows[:_NAMED]:
            points = f"{100 * abs(gains[row]):.1f} points"
            parts.append(f"{row} {verb} {reference} by {points} {_where(tested[row], theirs)}")
        if rows[_NAMED:]:
            verb = "beat it" if rows is better else "lose to it"
            more = len(rows) - _NAMED
            parts.append(f"{more} more {verb if more > 1 else verb.replace(' ', 's ', 1)}, too")
    open_ = [row for row in tested if row not in clear]
    if open_:
        parts.append(f"{_few(open_)} cannot be told apart from {reference}")
    return parts


def _where(ours: Entry, theirs: Entry) -> str:
    """Whether a difference has one sign at all seeds that both rows have."""
    gaps = [
        value - theirs.values[seed] for seed, value in ours.values.items() if seed in theirs.values
    ]
    one_sign = all(gap > 0 for gap in gaps) or all(gap < 0 for gap in gaps)
    if one_sign and len(gaps) == 2:
        return "on both seeds"
    return f"on all {len(gaps)} seeds" if one_sign else f"in the mean of {len(gaps)} seeds"


def _few(rows: Sequence[str]) -> str:
    """Names of some rows; of many the first, and how many more."""
    if len(rows) > _NAMED:
        rows = [*rows[: _NAMED - 1], f"{len(rows) - _NAMED + 1} others"]
    *most, last = rows
    return f"{', '.join(most)} and {last}" if most else last
