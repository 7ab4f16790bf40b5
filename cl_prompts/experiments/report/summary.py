"""Sentences of a report: when, what the paired tests show, and what limits the numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from cl_prompts.errors import all_of, first_of
from cl_prompts.experiments.results.aggregates import Aggregate
from cl_prompts.experiments.results.comparable import notes_on
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.history import curve_of
from cl_prompts.experiments.run_folder.runs import RunRecord

#: metrics that the sentence can be about: the first that the reference has
_ABOUT = ("a_auc", "map_avg", "a_last", "map_last")
#: rows that are named one by one
_NAMED = 4


def opening(runs: Sequence[RunRecord]) -> str:
    """Return the dates of the runs, and how many of them are finished."""
    times = [str(run.environment.get("time", "")) for run in runs]
    dates = sorted({time[:10] for time in times if re.match(r"\d{4}-\d\d-\d\d", time)})
    when = " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))
    finished = sum(run.finished for run in runs)
    text = f"{finished} of {len(runs)} run{'s' * (len(runs) != 1)} finished."
    return f"{when}: {text}" if when else text


def finding(group: Group, reference: str) -> str:
    """One sentence on what the paired tests of a table hold for its headline number.

    A row "beats" the reference, or "loses to" it, only where the difference is significant after
    Holm's correction; "on all seeds" stands where it has that sign at each seed that both have.
    Bounds, which saw all data at once, are left out.

    Args:
        group: the table.
        reference: row that differences refer to.

    Returns:
        The sentence; empty where the reference has no such number, or is the only row.
    """
    known = {metric.key: metric for metric in group.metrics}
    metrics = [known[key] for key in _ABOUT if key in known]
    metric = next((c for c in metrics if group.values(c.value)[reference]), None)
    if metric is None:
        return ""
    aggregates = {
        row: found[0] for row, found in group.table([metric], reference=reference).items()
    }
    others = {
        row: aggregate
        for row, aggregate in aggregates.items()
        if row != reference and not group.rows[row][0].whole_stream
    }
    if not others:
        return ""
    tested = {row: e for row, e in others.items() if e.difference and e.difference.known}
    # Titles end in a no-break space and their unit.
    name = metric.title.partition("\u00a0")[0]
    if not tested:
        return f"{name}: no strategy shares two seeds with {reference}, so nothing is tested."
    parts = _verdicts(tested, aggregates[reference], reference)
    untested = [row for row in others if row not in tested]
    if untested:
        parts.append(f"too few seeds of {first_of(untested, _NAMED)} for a test")
    return f"{name}: {'; '.join(parts)} (paired t-tests at 5 %, after Holm's correction)."


def _verdicts(tested: Mapping[str, Aggregate], theirs: Aggregate, reference: str) -> list[str]:
    """Largest significant differences, then undecided comparisons."""
    gains = {row: e.difference.mean for row, e in tested.items() if e.difference}
    clear = [row for row, aggregate in tested.items() if aggregate.verdict == "significant"]
    differing = [
        f"{row} {'beats' if gains[row] > 0 else 'loses to'} {reference} by"
        f" {100 * abs(gains[row]):.1f} points {_where(tested[row], theirs)}"
        for row in sorted(clear, key=lambda row: -abs(gains[row]))
    ]
    parts = [first_of(differing, _NAMED, "; ")] if differing else []
    open_ = [row for row in tested if row not in clear]
    if open_:
        parts.append(f"{first_of(open_, _NAMED)} cannot be told apart from {reference}")
    return parts


def _where(ours: Aggregate, theirs: Aggregate) -> str:
    """Whether a difference has one sign at all seeds that both rows have."""
    gaps = [
        value - theirs.values[seed] for seed, value in ours.values.items() if seed in theirs.values
    ]
    one_sign = all(gap > 0 for gap in gaps) or all(gap < 0 for gap in gaps)
    if one_sign and len(gaps) == 2:
        return "on both seeds"
    return f"on all {len(gaps)} seeds" if one_sign else f"in the mean of {len(gaps)} seeds"


def caveats(rows: Mapping[str, Sequence[RunRecord]]) -> list[str]:
    """Sentences on what limits the meaning of a table's numbers; none where nothing does.

    Args:
        rows: runs of each row, by its label.
    """
    runs = [run for members in rows.values() for run in members]
    return [*_single_seeds(rows), *_single_points(rows), *notes_on(runs)]


def _single_seeds(rows: Mapping[str, Sequence[RunRecord]]) -> Iterator[str]:
    """Rows without a standard deviation."""
    single = [label for label, runs in rows.items() if len(runs) == 1]
    if single:
        yield f'A single seed: {all_of(single)}. "-" stands where a standard deviation would.'


def _single_points(rows: Mapping[str, Sequence[RunRecord]]) -> Iterator[str]:
    """Rows whose A_AUC is one accuracy."""
    single = [label for label, runs in rows.items() if all(len(curve_of(run)) == 1 for run in runs)]
    if single:
        yield (
            f"A_AUC of {all_of(single)} is the value at a single anytime point; a smaller"
            " evaluation.every gives a curve."
        )
