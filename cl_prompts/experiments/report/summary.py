"""Summary of a report in sentences: dates, results of the paired tests, and caveats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cl_prompts.errors import all_of, first_of
from cl_prompts.experiments.results.aggregates import Aggregate
from cl_prompts.experiments.results.comparison import notes_of
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.history import curve_of
from cl_prompts.experiments.results.orders import order_sentences
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


def finding(group: Group, reference: str) -> str:
    """Return one sentence on the paired tests of the headline metric.

    A row "beats" the reference or "loses to" it only where the difference is significant after
    Holm's correction. Upper bounds are left out.

    Args:
        group: the runs.
        reference: row that differences refer to.

    Returns:
        The sentence; empty without such a metric, or without other rows.
    """
    known = {metric.key: metric for metric in group.metrics}
    metrics = [known[key] for key in _ABOUT if key in known]
    metric = next((m for m in metrics if group.values(m.value)[reference]), None)
    if metric is None:
        return ""
    found = {row: one for row, (one,) in group.table([metric], reference=reference).items()}
    others = {
        row: one
        for row, one in found.items()
        if row != reference and not group.rows[row][0].whole_stream
    }
    if not others:
        return ""
    names = group.names
    tested = {row: one for row, one in others.items() if one.difference and one.difference.known}
    # Titles end in a no-break space and their unit.
    title = metric.title.partition("\u00a0")[0]
    if not tested:
        return f"{title}: no strategy shares two seeds with {names[reference]}: no test."
    parts = _verdicts(group, tested, found[reference], reference)
    untested = [names[row] for row in others if row not in tested]
    if untested:
        parts.append(f"not tested: {first_of(untested, _NAMED)}")
    return f"{title}: {'; '.join(parts)} (paired t-tests at 5 %, after Holm's correction)."


def _verdicts(
    group: Group, tested: Mapping[str, Aggregate], theirs: Aggregate, reference: str
) -> list[str]:
    """Largest significant differences, then undecided comparisons."""
    names = group.names
    gains = {row: one.difference.mean for row, one in tested.items() if one.difference}
    clear = [row for row, one in tested.items() if one.verdict == "significant"]
    differing = [
        f"{names[row]} {'beats' if gains[row] > 0 else 'loses to'} {names[reference]}"
        f" {_where(tested[row], theirs)}, by {100 * abs(gains[row]):.1f} points on average"
        + (f" ({stored})" if (stored := _images(group, row)) else "")
        for row in sorted(clear, key=lambda row: -abs(gains[row]))
    ]
    parts = [first_of(differing, _NAMED, "; ")] if differing else []
    undecided = [names[row] for row in tested if row not in clear]
    if undecided:
        verb = "is" if len(undecided) == 1 else "are"
        parts.append(
            f"{first_of(undecided, _NAMED)} {verb} not significantly different from"
            f" {names[reference]}"
        )
    stored = _images(group, reference)
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
    single = [
        group.names[row]
        for row, runs in group.rows.items()
        if all(len(curve_of(run)) == 1 for run in runs)
    ]
    notes = list(notes_of(group, table))
    if single:
        notes.append(
            f"A_AUC of {all_of(single)} has a single anytime point. Reduce evaluation.every for a"
            " curve."
        )
    return [*notes, *order_sentences(group)]
