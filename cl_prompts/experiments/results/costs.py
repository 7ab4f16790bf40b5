"""Scores against what they cost, over the budgets of a grid."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from cl_prompts.errors import all_of
from cl_prompts.experiments.results.aggregates import Band
from cl_prompts.experiments.results.comparable import conditions_of
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.metrics import COMPUTE, Metric


def budgets_of(groups: Sequence[Group], limit: str = "budget") -> list[dict[float, Group]]:
    """Return groups that differ in one limit alone, by its value; two or more of each kind."""
    found: dict[str, dict[float, Group]] = defaultdict(dict)
    for group in groups:
        conditions = dict(conditions_of(group.runs[0]))
        if (budget := conditions.pop(limit, None)) is not None:
            found[json.dumps(conditions, sort_keys=True)][float(budget)] = group
    return [dict(sorted(alike.items())) for alike in found.values() if len(alike) > 1]


def against(cost: Metric, score: Metric, groups: Sequence[Group]) -> dict[str, Band]:
    """Return the score of each row over its cost: means over seeds, one point a group.

    Args:
        cost: metric of the x axis; means over seeds.
        score: metric of the y axis; the band is one standard deviation over seeds.
        groups: of several budgets.
    """
    points: dict[str, list[tuple[float, float, float, int]]] = defaultdict(list)
    for group in groups:
        paid, scored = group.values(cost), group.values(score)
        for row in group.rows:
            values = [*scored[row].values()]
            if values and paid[row]:
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                mean = statistics.fmean(paid[row].values())
                points[row].append((mean, statistics.fmean(values), spread, len(values)))
    bands = {}
    for row, found in points.items():
        x, middle, half, seeds = zip(*sorted(found), strict=True)
        bands[row] = Band(np.array(x), np.array(middle), np.array(half), min(seeds))
    return bands


def front(bands: Mapping[str, Band]) -> dict[str, list[float]]:
    """Return the Pareto front: costs of each row at which no cheaper point scores as high.

    >>> cheap = Band(np.array([1.0, 2.0]), np.array([0.6, 0.7]), None, 1)
    >>> dear = Band(np.array([2.0, 4.0]), np.array([0.5, 0.9]), None, 1)
    >>> front({"ncm": cheap, "mvp": dear})
    {'ncm': [1.0, 2.0], 'mvp': [4.0]}
    """
    points = [
        (float(x), -float(y), row)
        for row, band in bands.items()
        for x, y in zip(band.x, band.middle, strict=True)
    ]
    found: dict[str, list[float]] = {}
    best, last = 0.0, (0.0, 0.0)
    for x, y, row in sorted(points):
        if y < best or (x, y) == last:  # equal points are all on it
            best, last = y, (x, y)
            found.setdefault(row, []).append(x)
    return found


def in_words(alike: Mapping[float, Group], score: Metric, cost: Metric = COMPUTE) -> str:
    """Say which row leads at each limit of a cost, and which rows are on the Pareto front."""
    bands = against(cost, score, [*alike.values()])
    unit, share = ("F", " an image") if cost is COMPUTE else (cost.title, "")
    sentences = []
    for budget, group in alike.items():
        means = {row: statistics.fmean(v.values()) for row, v in group.values(score).items() if v}
        if means:
            most = max(means.values())
            leader = " = ".join(row for row in means if means[row] == most)
            value = f"{score.name} {100 * most:.1f} %"
            sentences.append(f"At {budget:,.9g} {unit}{share} {leader} leads ({value}).")
    on_it = [
        f"{row} at {all_of([cost.text([x]) for x in costs])} {unit}"
        for row, costs in front(bands).items()
    ]
    return " ".join([*sentences, f"On the Pareto front: {', '.join(on_it)}."])
