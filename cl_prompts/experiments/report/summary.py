"""Summary of a report in sentences: dates, results of the paired tests, and caveats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cl_prompts.errors import all_of, first_of
from cl_prompts.experiments.results.aggregates import Aggregate
from cl_prompts.experiments.results.comparison import notes_of, order_sentences
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.history import curve_of
from cl_prompts.experiments.run_folder.runs import RunRecord

#: metrics of the summary, in order of preference
_ABOUT = ("a_auc", "map_avg", "a_last", "map_last")
#: number of rows that a sentence lists
_NAMED = 4


def opening(runs: Sequence[RunRecord]) -> str:
    """Return the dates of the runs, and the number of finished ones."""
    times = [str(run.environment.get("time", "")) for run in runs]
    dates = sorted({time[:10] for time in times if re.match(r"\d{4}-\d\d-\d\d", time)})
    when = " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))
    finished = sum(run.finished for run in runs)
    text = f"{finished} of {len(runs)} run{'s' * (len(runs) != 1)} finished."
    return f"{when}: {text}" if when else text


def finding(group: Group) -> str:
    """Return one sentence on the paired tests of the headline metric.

    A row "beats" the reference or "loses to" it only where the difference is significant after
    Holm's correction. Upper bounds are left out. Empty without such a metric or other rows.
    """
    known = {metric.key: metric for metric in group.metrics}
    metrics = [known[key] for key in _ABOUT if key in known]
    metric = next((one for one in metrics if group.values(one)[group.reference]), None)
    others = [row for row in group.rows if row not in (*group.bounds, group.reference)]
    if metric is None or not others:
        return ""
    names, against = group.names, group.names[group.reference]
    found = {row: one for row, (one,) in group.table([metric]).items()}
    gaps = {row: found[row].difference for row in others}
    tested = {row: found[row] for row, gap in gaps.items() if gap is not None and gap.known}
    if not tested:
        return f"{metric.name}: no strategy shares two seeds with {against}: no test."
    parts = _verdicts(group, tested, found[group.reference])
    untested = [names[row] for row in others if row not in tested]
    if untested:
        parts.append(f"not tested: {first_of(untested, _NAMED)}")
    return f"{metric.name}: {'; '.join(parts)} (paired t-tests at 5 %, after Holm's correction)."


def _verdicts(group: Group, tested: Mapping[str, Aggregate], theirs: Aggregate) -> list[str]:
    """Largest significant differences, then undecided comparisons."""
    names, against = group.names, group.names[group.reference]
    gains = {row: one.difference.mean for row, one in tested.items() if one.difference}
    clear = [row for row, one in tested.items() if one.verdict == "significant"]
    differing = [
        f"{names[row]} {'beats' if gains[row] > 0 else 'loses to'} {against}"
        f" {_where(tested[row], theirs)}, by {100 * abs(gains[row]):.1f} points on average"
        + (f" ({stored})" if (stored := _images(group, row)) else "")
        for row in sorted(clear, key=lambda row: -abs(gains[row]))
    ]
    parts = [first_of(differing, _NAMED, "; ")] if differing else []
    if undecided := [names[row] for row in tested if row not in clear]:
        verb = "is" if len(undecided) == 1 else "are"
        shown = first_of(undecided, _NAMED)
        parts.append(f"{shown} {verb} not significantly different from {against}")
    stored = _images(group, group.reference)
    return [*parts, *([stored] if stored and clear else [])]


def _where(ours: Aggregate, theirs: Aggregate) -> str:
    """Whether a difference has one sign at all common seeds."""
    gaps = [
        value - theirs.values[seed] for seed, value in ours.values.items() if seed in theirs.values
    ]
    one_sign = all(gap > 0 for gap in gaps) or all(gap < 0 for gap in gaps)
    if one_sign and len(gaps) == 2:
        return "on both seeds"
    return f"on all {len(gaps)} seeds" if one_sign else f"over {len(gaps)} seeds"


def _images(group: Group, row: str) -> str:
    """Stored images of a row in words; empty for none."""
    memory = group.rows[row][0].summary.get("memory") or {}
    count = memory.get("samples")
    return f"{group.names[row]} keeps {count:,} images" if count else ""


def caveats(group: Group, table: Mapping[str, Sequence[Aggregate]]) -> list[str]:
    """Return sentences on the limits of a table's numbers."""
    notes = notes_of(group, table)
    single = [
        group.names[row]
        for row, runs in group.rows.items()
        if all(len(curve_of(run)) == 1 for run in runs)
    ]
    if single:
        notes.append(
            f"A_AUC of {all_of(single)} has a single anytime point. Reduce evaluation.every for a"
            " curve."
        )
    return [*notes, *order_sentences(group)]
