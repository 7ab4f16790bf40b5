"""Comparison of finished runs: means, paired differences over seeds, and ranks.

Means and spreads are those of the report's table: both take the metrics, rows and values of
:class:`~cl_prompts.experiments.results.groups.Group`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.results.aggregates import Aggregate, power
from cl_prompts.experiments.results.comparable import notes_on
from cl_prompts.experiments.results.groups import Group, groups
from cl_prompts.experiments.results.metrics import Metric
from cl_prompts.experiments.run_folder.runs import RunRecord, collect

#: metrics compared by default, where runs have them
HEADLINES = ("a_auc", "a_last", "forgetting", "map_avg", "map_last")


@dataclass(frozen=True)
class Table:
    """Runs that may be compared.

    Attributes:
        title: of the group, and the value of the setting that divides tables.
        group: the runs.
        metrics: what is compared.
        aggregates: by row in the order asked for, in the order of metrics.
        reference: row that differences refer to.
        notes: sentences on what the numbers cannot tell.
    """

    title: str
    group: Group
    metrics: tuple[Metric, ...]
    aggregates: Mapping[str, Sequence[Aggregate]]
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
        (f"{group.title} ({value})" if value else group.title, group)
        for value, members in _by_value(runs, by).items()
        for group in groups(members)
    ]
    labels = [label for _, group in parts for label in group.rows]
    for name in (*rows, *([] if reference is None else [reference])):
        # A row need not be in every table, but it must be in one.
        if not named_rows(name, labels):
            raise unknown("row", name, labels)
    tables = []
    for title, group in parts:
        known = list(group.rows)
        chosen = [label for name in rows for label in named_rows(name, known)] if rows else known
        if chosen:
            row = reference_row(group, chosen, reference)
            compared = _columns(group, metrics)
            aggregates = group.table(compared, rows=dict.fromkeys(chosen), reference=row)
            tables.append(Table(title, group, compared, aggregates, row, _notes(group, aggregates)))
    return tables


def _by_value(runs: Sequence[RunRecord], key: str | None) -> dict[str, list[RunRecord]]:
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


def reference_row(group: Group, rows: Sequence[str], name: str | None = None) -> str:
    """The row that differences refer to, in comparisons and in reports.

    Args:
        group: the table.
        rows: of it, in the order asked for.
        name: label or strategy asked for; a table without it, and None, take the first row that did
            not see all data at once, or else the first.

    Raises:
        InputError: several rows have that name.
    """
    named = [] if name is None else named_rows(name, rows)
    if len(named) > 1:
        raise InputError(f"reference {name} could mean {' or '.join(named)}: write one of these")
    streamed = [row for row in rows if not group.rows[row][0].whole_stream]
    return next(iter([*named, *streamed, *rows]))


def _columns(group: Group, metrics: Sequence[str]) -> tuple[Metric, ...]:
    scores = [c for c in (*group.metrics, *group.by_name) if c.best is not None]
    known = {metric.key: metric for metric in (*scores, *group.own_scores)}
    own = [metric.key for metric in group.own_scores]
    # With several labels, forgetting is a number by name and no headline.
    hidden = "forgetting" if group.multi_label else ""
    headlines = [key for key in (*HEADLINES, *own) if key in known and key != hidden]
    for key in metrics:
        if key not in known:
            raise unknown("metric of these runs", key, known)
    return tuple(known[key] for key in metrics or headlines)


def _notes(group: Group, aggregates: Mapping[str, Sequence[Aggregate]]) -> tuple[str, ...]:
    """Limits of the numbers, in sentences."""
    bounds = [row for row in aggregates if group.rows[row][0].whole_stream]
    seeds = {row: group.seeds[row] for row in aggregates if row not in bounds}
    notes = []
    if len(set(seeds.values())) > 1:
        listed = "; ".join(f"{row}: {', '.join(found)}" for row, found in seeds.items())
        notes.append(
            f"Rows have different seeds ({listed}), so no mean is bold; differences are over"
            " the seeds that both rows have."
        )
    elif seeds and len(next(iter(seeds.values()))) == 1:
        notes.append("One seed tells no spread: nothing is tested and nothing is bold.")
    notes.append(power(aggregate for found in aggregates.values() for aggregate in found))
    notes += notes_on(run for row in aggregates for run in group.rows[row])
    if bounds and seeds:
        notes.append(f"{', '.join(bounds)} saw all data at once: a bound, not a competitor.")
    return tuple(filter(None, notes))
