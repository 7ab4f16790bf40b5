"""Comparison of finished runs: means, paired differences over seeds, ranks, and notes.

Tables have the metrics, rows and values of :class:`~cl_prompts.experiments.results.groups.Group`,
as those of the report.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cl_prompts.errors import InputError, all_of, unknown
from cl_prompts.experiments.results.aggregates import Aggregate, power
from cl_prompts.experiments.results.comparable import notes_on
from cl_prompts.experiments.results.groups import Group, groups
from cl_prompts.experiments.results.metrics import Metric
from cl_prompts.experiments.run_folder.runs import RunRecord, collect

#: metrics compared by default, where runs have them
HEADLINES = ("a_auc", "a_last", "forgetting", "map_avg", "map_last")


@dataclass(frozen=True)
class Table:
    """Comparable runs with their aggregates.

    Attributes:
        title: title of the group, and the value of the setting that divides tables.
        group: the runs.
        metrics: the metrics that are compared.
        aggregates: by row in the order asked for, one for each metric.
        reference: row that differences refer to.
        notes: sentences on the limits of the numbers.
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
    """Compare runs in one table for each group of comparable runs.

    Args:
        paths: run folders, or folders above them; rows come in this order.
        by: setting whose values divide the tables, dotted (``scenario.blurry_percent``) or bare;
            also "dataset", "scenario", "backbone" and "recipe".
        reference: row that the others are compared with, see :func:`reference_row`.
        rows: labels or strategies to show, in this order; empty for all.
        metrics: keys of ``results`` in ``summary.json``; empty for the headline metrics.

    Raises:
        InputError: no run is finished, or a row, setting or metric is unknown.
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
    # A row need not be in every table, but it must be in one.
    for name in (*rows, *([] if reference is None else [reference])):
        if not named_rows(name, labels):
            raise unknown("row", name, labels)
    tables = []
    for title, group in parts:
        known = list(group.rows)
        chosen = [label for name in rows for label in named_rows(name, known)] if rows else known
        if chosen:
            row = reference_row(group, chosen, reference)
            compared = _metrics(group, metrics)
            found = group.table(compared, rows=dict.fromkeys(chosen), reference=row)
            tables.append(Table(title, group, compared, found, row, notes_of(group, found)))
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
    """Return the rows of a name: the label itself, or all rows of a strategy."""
    if name in labels:
        return [name]
    # Labels of several rows of one strategy: its name, then settings in brackets.
    return [label for label in labels if label.startswith(f"{name} (")]


def reference_row(group: Group, rows: Sequence[str], name: str | None = None) -> str:
    """Choose the row that differences refer to.

    Args:
        group: the runs.
        rows: labels, in the order asked for.
        name: label or strategy. Without it, or in a table without that row: the first row that was
            not trained on the whole stream at once, or else the first.

    Raises:
        InputError: several rows have that name.
    """
    named = [] if name is None else named_rows(name, rows)
    if len(named) > 1:
        raise InputError(f"reference {name} could mean {' or '.join(named)}: write one of these")
    streamed = [row for row in rows if not group.rows[row][0].whole_stream]
    return next(iter([*named, *streamed, *rows]))


def _metrics(group: Group, keys: Sequence[str]) -> tuple[Metric, ...]:
    """Metrics of these keys, or the headline metrics and the user's own."""
    scores = [metric for metric in (*group.metrics, *group.by_name) if metric.best is not None]
    known = {metric.key: metric for metric in (*scores, *group.own_scores)}
    for key in keys:
        if key not in known:
            raise unknown("metric of these runs", key, known)
    own = [metric.key for metric in group.own_scores]
    # With several labels, forgetting has another definition and is not a headline metric.
    hidden = "forgetting" if group.multi_label else ""
    headlines = [key for key in (*HEADLINES, *own) if key in known and key != hidden]
    return tuple(known[key] for key in keys or headlines)


def notes_of(group: Group, table: Mapping[str, Sequence[Aggregate]]) -> tuple[str, ...]:
    """Return sentences on the limits of the numbers of a table."""
    names = group.names
    bounds = [row for row in table if group.rows[row][0].whole_stream]
    seeds = {row: group.seeds[row] for row in table if row not in bounds}
    notes = []
    if len(set(seeds.values())) > 1:
        listed = "; ".join(f"{names[row]}: {', '.join(found)}" for row, found in seeds.items())
        notes.append(
            f"Rows have different seeds ({listed}). Differences, ranks and bold use common seeds;"
            " a row with one seed is never bold."
        )
    elif seeds and len(next(iter(seeds.values()))) == 1:
        notes.append("With one seed nothing is tested, and nothing is bold.")
    if group.replaced:
        found = [f"{run} ({n + 1} runs)" for run, n in group.replaced.items()]
        notes.append(f"Duplicate seeds: {all_of(found)}. Only the newest run counts.")
    notes.append(power(one for found in table.values() for one in found))
    notes += notes_on(run for row in table for run in group.rows[row])
    if bounds and seeds:
        shown = all_of([names[row] for row in bounds])
        notes.append(f"{shown}: an upper bound trained on all data at once, never bold.")
    return tuple(filter(None, notes))
