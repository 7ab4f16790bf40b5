"""Comparison of finished runs: means, paired differences over seeds, ranks, and notes.

Tables have the metrics, rows and values of :class:`~cl_prompts.experiments.results.groups.Group`,
as those of the report.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cl_prompts.errors import InputError, all_of, unknown
from cl_prompts.experiments.recipes.values import written
from cl_prompts.experiments.results.aggregates import Aggregate, Seeded, least_effect
from cl_prompts.experiments.results.comparable import notes_on
from cl_prompts.experiments.results.groups import Group, choose, groups
from cl_prompts.experiments.results.metrics import Metric
from cl_prompts.experiments.run_folder.runs import RunRecord, collect

#: metrics compared by default, where runs have them
HEADLINES = ("a_auc", "a_last", "forgetting", "map_avg", "map_last")
#: number of seeds from which tests carry no warning
_SEEDS_ENOUGH = 5
_BY_ORDER = ("a_auc", "a_last", "map_avg", "map_last")


class Table(NamedTuple):
    """Comparable runs with their aggregates.

    Attributes:
        group: the runs.
        metrics: the metrics that are compared.
        aggregates: by row in the order asked for, one for each metric.
    """

    group: Group
    metrics: Sequence[Metric]
    aggregates: Mapping[str, Sequence[Aggregate]]


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
        reference: row that the others are compared with, see
            :func:`~cl_prompts.experiments.results.groups.choose`.
        rows: labels or strategies to show, in this order; empty for all.
        metrics: keys of ``results`` in ``summary.json``; empty for the headline metrics.

    Raises:
        InputError: no run is finished, or a row, setting or metric is unknown.
    """
    runs = [run for run in collect(paths) if run.finished]
    if not runs:
        raise InputError("none of these runs is finished: there is nothing to compare")
    parts = choose(groups(runs) if by is None else _groups_by(runs, by), reference, rows)
    scores = [{one.key: one for one in (*group.metrics, *group.by_name)} for group in parts]
    known = {key for found in scores for key in found if key}
    for key in metrics:
        if key not in known:
            raise unknown("metric of these runs", key, known)
    tables = []
    for group, found in zip(parts, scores, strict=True):
        headlines = (*HEADLINES, *(one.key for one in group.own_scores))
        compared = [found[key] for key in metrics if key in found]
        compared = compared if metrics else [one for one in group.metrics if one.key in headlines]
        tables.append(Table(group, compared, group.table(compared)))
    return tables


def _groups_by(runs: Sequence[RunRecord], key: str) -> list[Group]:
    """Groups of the runs of each value of a setting, with the value in their titles."""
    settings = [{**run.identity["settings"], "recipe": run.summary["recipe"]} for run in runs]
    known = dict.fromkeys(name for one in settings for name in one)
    named = [name for name in known if name in (key, f"{key}.name")]
    named = named or [name for name in known if name.rpartition(".")[2] == key]
    if not named:
        raise unknown("setting of these runs", key, known)
    if len(named) > 1:
        raise InputError(f"{key} could mean {' or '.join(named)}: write one of these")
    by_value = defaultdict(list)
    for run, one in zip(runs, settings, strict=True):
        by_value[written(one.get(named[0], "unset"))].append(run)
    return [
        replace(group, title=f"{group.title} ({key}={value})")
        for value, members in by_value.items()
        for group in groups(members)
    ]


def notes_of(group: Group, table: Mapping[str, Sequence[Aggregate]]) -> list[str]:
    """Return sentences on the limits of the numbers of a table."""
    names, bounds = group.names, group.bounds
    seeds = {row: found for row, found in group.seeds.items() if row not in bounds}
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
    pairs = [one.difference.pairs for found in table.values() for one in found if one.difference]
    fewest = min((n for n in pairs if n > 1), default=_SEEDS_ENOUGH)
    if fewest < _SEEDS_ENOUGH:
        notes.append(
            f"With {fewest} seeds, a difference is significant only above"
            f' {least_effect(fewest):.1f} standard deviations. "Not significant" does not mean'
            " equal."
        )
    if any(len({run.order for run in runs}) > 1 for runs in group.rows.values()):
        notes.append('Each class order of a seed counts as one of the "seeds".')
    notes += notes_on(group.runs)
    if bounds and seeds:
        shown = all_of([names[row] for row in bounds])
        notes.append(f"{shown}: an upper bound trained on all data at once, never bold.")
    return notes


def order_table(group: Group) -> list[tuple[str, ...]]:
    """Worst, mean and best of A_AUC and A_last over class orders, in percent, by row.

    The value of an order is the mean over seeds; its name stands behind it.

    Returns:
        The headings, and a line for each row with several orders; empty without such rows.
    """
    metrics = [metric for metric in group.metrics if metric.key in _BY_ORDER]
    lines = []
    for row, runs in group.rows.items():
        orders = {run.order for run in runs if run.order}
        if len(orders) > 1:
            ranges = [_range_over_orders(group.values(metric)[row]) for metric in metrics]
            lines.append((group.names[row], str(len(orders)), *itertools.chain(*ranges)))
    heads = [f"{metric.name} {part}" for metric in metrics for part in ("worst", "mean", "best")]
    return [("strategy", "orders", *heads), *lines] if lines else []


def _range_over_orders(values: Seeded) -> list[str]:
    found: dict[int | str, list[float]] = defaultdict(list)
    for draw, value in values.items():
        found[draw[-1]].append(value)
    means = sorted((statistics.fmean(known), order) for order, known in found.items())
    if not means:
        return ["", "", ""]
    worst, best = (f"{100 * mean:.1f} ({order})" for mean, order in (means[0], means[-1]))
    return [worst, f"{100 * statistics.fmean(mean for mean, _ in means):.1f}", best]


def order_sentences(group: Group) -> list[str]:
    """One sentence for each row whose final score does not depend on the order of the stream."""
    score = "The final mAP" if group.multi_label else "A_last"
    found = []
    for row, runs in group.rows.items():
        if all(run.summary.get("order_free") for run in runs):
            name = group.names[row]
            found.append(f"{score} of {name} does not depend on the order of the stream.")
    return found
