"""Groups of comparable runs: their rows, their tables, and how groups differ in words."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.values import written
from cl_prompts.experiments.results.aggregates import Aggregate, Draw, aggregates_of
from cl_prompts.experiments.results.comparable import Conditions, differing, options_of, tables
from cl_prompts.experiments.results.metrics import BY_NAME, COSTS, METRICS, Metric, score
from cl_prompts.experiments.run_folder.runs import RunRecord
from cl_prompts.user_code import labels_of

_MAX_WORDS = 4  # settings named in a title
_LIMITS = ("budget", "memory")  # named in every title
_TOP = 10  # rows shown at first


@dataclass(frozen=True)
class Group:
    """Runs that may be compared, and the row that the others are compared with.

    Attributes:
        title: recipe, and the conditions in which the groups of it differ.
        rows: runs of each row by label, in the order of the runs.
        reference: row that differences refer to.
        replaced: number of older runs of the same settings and seed.
    """

    title: str
    rows: Mapping[str, list[RunRecord]]
    reference: str = ""
    replaced: int = 0

    @property
    def runs(self) -> list[RunRecord]:
        """All runs that count."""
        return [run for members in self.rows.values() for run in members]

    @property
    def bounds(self) -> list[str]:
        """Rows trained on the whole stream at once, which are upper bounds."""
        return [row for row, runs in self.rows.items() if runs[0].whole_stream]

    @property
    def seeds(self) -> dict[str, tuple[str, ...]]:
        """Seeds of each row."""
        return {label: tuple(run.seeds for run in members) for label, members in self.rows.items()}

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.runs[0].multi_label

    @property
    def headline(self) -> Metric | None:
        """First score of its table for which more is better."""
        return next((one for one in self.metrics if one.best is max), None)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Scores of its table: those that some run has, with the user's own metrics."""
        names = [name for run in self.runs for name in run.summary.get("own_scores") or ()]
        own = [score(name, name) for name in dict.fromkeys(names)]
        return self._measured((*METRICS[self.multi_label], *own))

    @property
    def by_name(self) -> tuple[Metric, ...]:
        """Metrics of a second table: scores under the definitions of other papers."""
        return self._measured(BY_NAME[self.multi_label])

    @property
    def costs(self) -> tuple[Metric, ...]:
        """Metrics of the table of costs."""
        return self._measured(COSTS)

    def _measured(self, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
        return tuple(metric for metric in metrics if any(self.values(metric).values()))

    def values(self, metric: Metric) -> dict[str, dict[Draw, float]]:
        """Return the defined values of each row by (seed, stream seed) and any class order."""
        found = {}
        for row, runs in self.rows.items():
            values = {run.draw: metric.value(run.summary) for run in runs}
            found[row] = {draw: value for draw, value in values.items() if value is not None}
        return found

    def table(self, metrics: Sequence[Metric] | None = None) -> dict[str, list[Aggregate]]:
        """Aggregate each metric, by default its ``metrics``, for each row."""
        found = [
            aggregates_of(self.values(metric), metric, self.reference, self.bounds)
            for metric in (self.metrics if metrics is None else metrics)
        ]
        return {label: [column[label] for column in found] for label in self.rows}

    def ranked(self) -> Group:
        """Return the group with its rows sorted by the headline score, the best mean first."""
        values = self.values(self.headline) if self.headline else {}
        means = {row: statistics.fmean(found.values()) for row, found in values.items() if found}
        order = sorted(self.rows, key=lambda row: means.get(row, -math.inf), reverse=True)
        return replace(self, rows={row: self.rows[row] for row in order})

    @property
    def top(self) -> Group:
        """Its first ten rows and the reference; named in the title unless these are all."""
        names = dict.fromkeys([*[*self.rows][:_TOP], self.reference])
        if len(names) == len(self.rows):
            return self
        title = f"{self.title}, {len(names)} of {len(self.rows)} rows"
        return replace(self, rows={row: self.rows[row] for row in names}, title=title)

    def choose(self, reference: str | None = None, rows: Sequence[str] = ()) -> Group:
        """Return the group with another reference, and with these rows alone, in this order.

        Args:
            reference: label or strategy. Without it, or without such a row: the first row that was
                not trained on the whole stream at once, or else the first.
            rows: labels or strategies; empty for all.

        Raises:
            InputError: several rows have the name of the reference.
        """
        found = [label for name in rows or self.rows for label in named_rows(name, self.rows)]
        chosen = {label: self.rows[label] for label in found}
        named = [] if reference is None else named_rows(reference, chosen)
        if len(named) > 1:
            words = f"{' or '.join(named)}: write one of these"
            raise InputError(f"reference {reference} could mean {words}")
        streamed = [row for row in chosen if row not in self.bounds]
        return replace(self, rows=chosen, reference=next(iter([*named, *streamed, *chosen]), ""))


def named_rows(name: str, labels: Collection[str]) -> list[str]:
    """Return the rows of a name: the label itself, or all rows of a strategy."""
    if name in labels:
        return [name]
    # Labels of several rows of one strategy: its name, then settings in brackets.
    return [label for label in labels if label.startswith(f"{name} (")]


def groups(
    runs: Sequence[RunRecord], reference: str | None = None, rows: Sequence[str] = ()
) -> list[Group]:
    """Divide finished runs into groups of comparable ones, see ``comparable``, and into rows.

    Of several runs with the same settings and seeds, the newest counts. Groups of one recipe stand
    together, the largest first.

    Args:
        runs: runs of any state; unfinished ones are left out.
        reference: see :meth:`Group.choose`.
        rows: see :meth:`Group.choose`; groups without these rows are left out.

    Raises:
        InputError: no group has a row of such a name, or a group has several for its reference.
    """
    names = labels_of(str(run.summary["strategy"]) for run in runs)
    by_recipe: dict[str, list[tuple[Conditions, list[RunRecord]]]] = defaultdict(list)
    for conditions, members in tables(runs):
        recipes = dict.fromkeys(str(run.summary["recipe"]) for run in members)
        by_recipe[", ".join([*recipes, *_noise(conditions)])].append((conditions, members))
    parts: list[Group] = []
    for recipe, divided in by_recipe.items():
        divided.sort(key=lambda table: -len(table[1]))
        given = [
            {key: _plain(value) for key, value in found.items() if value is not None}
            for found, _ in divided
        ]
        for words, (_, members) in zip(differing(given, _LIMITS), divided, strict=True):
            title = _titled(recipe, words[:_MAX_WORDS], [part.title for part in parts])
            found = _rows(members, names)
            replaced = len(members) - sum(map(len, found.values()))
            parts.append(Group(title, found, "", replaced))
    labels = [label for part in parts for label in part.rows]
    for name in (*rows, *([] if reference is None else [reference])):
        # A row need not be in every group.
        if parts and not named_rows(name, labels):
            raise unknown("row of these runs", name, labels)
    return [part for part in (part.choose(reference, rows) for part in parts) if part.rows]


def _noise(conditions: Conditions) -> list[str]:
    """Label noise in words for titles; empty without noise."""
    kind, rate = (conditions.get(f"label_noise.{key}") for key in ("name", "rate"))
    return [] if kind is None else [f"{kind} label noise" + ("" if rate is None else f" {rate:g}")]


def _plain(value: object) -> str:
    """Write a value without the signs of JSON; of data the numbers of images, and a hash."""
    if isinstance(value, Mapping) and "training" in value:
        digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:6]
        return f"{value['training']['images']} + {value['test']['images']} images {digest}"
    return re.sub(r'[]["{}]', "", written(value)) or "none"


def _titled(name: str, words: Sequence[str], taken: Collection[str]) -> str:
    """A name with words in parentheses, and a number where it is taken."""
    title = f"{name} ({', '.join(words)})" if words else name
    titles = itertools.chain([title], (f"{title} [{number}]" for number in itertools.count(2)))
    return next(one for one in titles if one not in taken)


def _rows(runs: Sequence[RunRecord], names: Mapping[str, str]) -> dict[str, list[RunRecord]]:
    """Runs of each row sorted by seeds; of equal seeds the newest run."""
    labels = _labels(runs, names)
    rows: dict[str, dict[Draw, RunRecord]] = {label: {} for label in labels.values()}
    for run in sorted(runs, key=lambda run: (run.environment.get("time", ""), run.folder.name)):
        rows[labels[run.folder]][run.draw] = run
    return {label: [row[seed] for seed in sorted(row)] for label, row in rows.items()}


def _labels(runs: Sequence[RunRecord], names: Mapping[str, str]) -> dict[Path, str]:
    """Label of each run's row: its strategy, and the settings that differ among its runs."""
    rows: dict[tuple[str, str], str] = {}
    labels: dict[Path, str] = {}
    for strategy in dict.fromkeys(str(run.summary["strategy"]) for run in runs):
        members = [run for run in runs if run.summary["strategy"] == strategy]
        options = [options_of(run) for run in members]
        # A plugin without settings is named among the plugins.
        shown = [{key: text for key, text in one.items() if text != "{}"} for one in options]
        for run, given, words in zip(members, options, differing(shown), strict=True):
            row = (strategy, json.dumps(given, sort_keys=True))
            # Different settings may read alike: they stay different rows.
            label = _titled(names[strategy], words, rows.values())
            labels[run.folder] = rows.setdefault(row, label)
    return {run.folder: labels[run.folder] for run in runs}
