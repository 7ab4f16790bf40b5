"""Charts of a report: specifications for the page, and figures for papers."""

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from cl_prompts.errors import all_of
from cl_prompts.experiments.figures import maps
from cl_prompts.experiments.figures.curves import curve_chart
from cl_prompts.experiments.figures.style import Chart, spec
from cl_prompts.experiments.results import history
from cl_prompts.experiments.results.aggregates import Band, curves_of, difference_band, mean_band
from cl_prompts.experiments.results.comparable import conditions_of
from cl_prompts.experiments.results.comparison import headlines
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.metrics import BYTES, COMPUTE, NOISE, Metric
from cl_prompts.experiments.run_folder.runs import RunRecord

Fields = dict[str, object]
_LONGEST_STEM = 150  # of the name of a file


def script_json(data: object) -> Markup:
    """Return JSON for a script element."""
    # A name may hold </script>, which would end the element.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


class Charts:
    """Charts of a page by file name, without suffix.

    Each method draws charts and returns, for the template, the fields ``json``, ``alt``,
    ``caption`` and ``file`` of each.

    Args:
        rows: all rows of the page: each has one colour in all charts.
    """

    def __init__(self, rows: Sequence[str]) -> None:
        self.rows = rows
        self.by_file: dict[str, Chart] = {}

    def _add(self, chart: Chart, alt: str, caption: str = "") -> Fields:
        """Add a chart, in a file named after its alternative text."""
        file = re.sub(r"[^a-z0-9]+", "-", alt.lower())[-_LONGEST_STEM:].strip("-")
        if file in self.by_file:
            file = f"{file}-{len(self.by_file)}"
        self.by_file[file] = chart
        return {"json": script_json(spec(chart, alt)), "alt": alt, "caption": caption, "file": file}

    def curves(self, group: Group) -> list[Fields]:
        """Draw curves over samples, or over tasks for several labels and without anytime points."""
        found = self._curve_pair(group, over_tasks=False)
        if group.multi_label or not found:
            found += self._curve_pair(group, over_tasks=True)
        return found

    def _curve_pair(self, group: Group, *, over_tasks: bool) -> list[Fields]:
        """Mean curves, and their differences to the reference; empty without curves."""
        curve = history.task_curve_of if over_tasks else history.stream_curve_of
        curves = curves_of(group.rows, curve)
        score = "mAP" if group.multi_label else "Accuracy"
        title = f"{group.title}: {score} {'after each task' if over_tasks else 'at any time'}"
        xlabel = "after task" if over_tasks else "samples of the stream (images)"
        found = []
        if bands := _known({row: mean_band([*seeds.values()]) for row, seeds in curves.items()}):
            ylabel = f"{score} over the classes seen (%)"
            chart = curve_chart(bands, self.rows, xlabel=xlabel, ylabel=ylabel)
            caption = f"{title}. Lines: means over seeds; bands: ± one standard deviation."
            found.append(self._add(chart, title, caption))
        theirs = curves.pop(group.reference, {})
        if gaps := _known({row: difference_band(ours, theirs) for row, ours in curves.items()}):
            ylabel = f"difference to {group.reference} (points)"
            chart = curve_chart(gaps, self.rows, xlabel=xlabel, ylabel=ylabel, differences=True)
            caption = "Mean difference at the same seed. Bands: its 95 % interval at each point."
            found.append(self._add(chart, f"{title}, differences", caption))
        return found

    def costs(self, groups: Sequence[Group]) -> list[tuple[str, list[Fields], list[Fields]]]:
        """Draw scores against compute and bytes, where groups differ in ``budget`` or ``memory``
        alone; with what the first chart says in words.

        The first charts have the top rows of the largest limit and those of the Pareto front, the
        further ones all rows.
        """
        kinds = {"budget": COMPUTE, "memory": BYTES}
        alike = [(budgets_of(groups, limit), cost) for limit, cost in kinds.items()]
        return [self._costs(parts, cost) for found, cost in alike for parts in found]

    def _costs(
        self, alike: Mapping[float, Group], limited: Metric
    ) -> tuple[str, list[Fields], list[Fields]]:
        parts = [*alike.values()]
        best = parts[-1].top.rows
        drawn: list[Fields] = []
        rest: list[Fields] = []
        scores = [one for one in headlines(parts[0]) if one.best is max and one not in NOISE]
        first, last = scores[0], scores[-1]
        for score, cost in dict.fromkeys([(first, limited), (last, limited), (last, BYTES)]):
            bands = against(cost, score, parts)
            title = f"{parts[0].runs[0].summary['recipe']}: {score.name} against {cost.title}"
            ylabel, rings = f"{score.name} (%)", front(bands)
            caption = f"{title}. Rings: the Pareto front. Bands: ± one standard deviation."
            axes: dict[str, Any] = {"xlabel": cost.title, "ylabel": ylabel, "marked": rings}
            top = {row: band for row, band in bands.items() if row in best or row in rings}
            drawn.append(self._add(curve_chart(top, self.rows, **axes), title, caption))
            if len(top) < len(bands):
                whole = curve_chart(bands, self.rows, **axes)
                rest.append(self._add(whole, f"{title}, all rows", caption))
        return in_words(alike, first, limited), drawn, rest

    def streams(self, group: Group) -> list[Fields]:
        """Draw the stream of each stream seed and class order."""
        found = []
        for _, run in sorted({run.draw[1:]: run for run in group.runs}.items()):
            name = f"stream seed {run.summary['stream_seed']} {run.order}".strip()
            chart = maps.stream_chart(run.stream, run.summary.get("class_names"))
            found.append(self._add(chart, f"{group.title}, {name}", name))
        return found

    def tasks(self, group: Group) -> list[Fields]:
        """Draw the task matrix of each row with at least two measured task ends."""
        found = []
        for row, runs in group.rows.items():
            values = np.ma.masked_invalid([history.task_matrix(run) for run in runs])
            matrix = values.mean(axis=0).filled(np.nan)
            # Seeds may order domains differently.
            orders = {tuple(run.summary.get("domain_names") or ()) for run in runs}
            rows = "domain of task" if any(orders) else "classes first seen in task"
            names = orders.pop() if len(orders) == 1 else ()
            if (~np.isnan(matrix)).any(axis=0).sum() > 1:
                measure = "mAP" if group.multi_label else "accuracy"
                chart = maps.task_chart(matrix, measure=measure, rows=rows, names=names)
                alt = f"{group.title}, {row}: tasks"
                found.append(self._add(chart, alt, f"{row}, mean over seeds"))
        return found

    def of_run(self, group: Group, row: str, run: RunRecord) -> list[tuple[str, Fields]]:
        """Draw classes and prompts of one run."""
        whose = f"{group.title}, {row}, seed {run.seeds}"
        return [(what, self._add(chart, f"{whose}: {what}")) for what, chart in maps.pictures(run)]


def _known(bands: Mapping[str, Band | None]) -> dict[str, Band]:
    return {row: band for row, band in bands.items() if band is not None}


# -------------------------------------------------------------------- scores against their cost


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
