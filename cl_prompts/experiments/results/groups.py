"""Groups of comparable runs: their rows, their tables, and how groups differ in words."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl_prompts.catalog import catalog
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.errors import first_of
from cl_prompts.experiments.results.aggregates import Aggregate, aggregates_of
from cl_prompts.experiments.results.comparable import Conditions, options_of, tables
from cl_prompts.experiments.results.metrics import (
    BY_NAME,
    METRICS,
    MULTI_LABEL_BY_NAME,
    MULTI_LABEL_METRICS,
    Lookup,
    Metric,
    own_score,
)
from cl_prompts.experiments.run_folder.runs import RunRecord, begun_at
from cl_prompts.user_code import label_of, labels_of

#: conditions that follow from a choice, and are not listed where the choice itself differs
_FOLLOWS = {"data": "dataset.name", "backbone": "backbone.name"}
_MAX_LENGTH = 40  # of a value in words
_MAX_WORDS = 4  # differences named in a title


def differences(conditions: Conditions, reference: Conditions) -> list[str]:
    """List the conditions that differ between two groups, in words.

    Settings that only exist for another data set, scenario or backbone are left out.

    >>> differences({"scenario.blurry_percent": "60"}, {"scenario.blurry_percent": "10"})
    ['blurry_percent 60 instead of 10']
    """
    keys = dict.fromkeys((*conditions, *reference))
    differing = [key for key in keys if conditions.get(key) != reference.get(key)]
    shown = [key for key in differing if not _follows(key, differing, conditions, reference)]
    names = [_name_of(key) for key in shown]
    words = [
        # Two sections may have a setting of the same name.
        _in_words(name if names.count(name) == 1 else key, conditions.get(key), reference.get(key))
        for key, name in zip(shown, names, strict=True)
    ]
    return list(dict.fromkeys(words))


def _name_of(key: str) -> str:
    return key if key.startswith("parent.") else key.removesuffix(".name").rpartition(".")[2]


def _follows(
    key: str, differing: Sequence[str], conditions: Conditions, reference: Conditions
) -> bool:
    """Whether a condition differs only because a choice does, such as the scenario."""
    choice = _FOLLOWS.get(key, f"{key.partition('.')[0]}.name")
    one_sided = key not in conditions or key not in reference
    return key != choice and choice in differing and (one_sided or key in _FOLLOWS)


def _in_words(name: str, value: str | None, reference: str | None) -> str:
    if name == "data" and value and reference:
        return f"data: {fingerprint_change(json.loads(reference), json.loads(value)) or 'differs'}"
    if name.startswith("parent.") and None in (value, reference):
        return f"continues {'no' if value is None else 'a'} finished run"
    words = [_word(value), _word(reference)]
    # Own code may have equal short names, and long values may begin alike.
    return f"{name} {' instead of '.join(words) if words[0] != words[1] else 'differs'}"


def _word(text: str | None) -> str:
    """Shorten a JSON value as recipes write it."""
    if text is None:
        return "not recorded"
    value = json.loads(text)
    word = label_of(value) if isinstance(value, str) else "none" if value is None else text
    return word if len(word) <= _MAX_LENGTH else f"{word[:8]}…"


def display_name(label: str, run: RunRecord) -> str:
    """Name of a row for readers: that of its method, its variant, and the settings that differ.

    Args:
        label: the row's label, such as "mvp@whitened (lr=0.1)".
        run: a run of the row.
    """
    strategy = str(run.summary["strategy"])
    base, _, variant = strategy.partition("@")
    known = catalog()["strategies"].get(base)
    if known is None or not label.startswith(strategy):
        return label
    # Descriptions begin with the name: "MVP: mask and ...", "LwF, learning ...".
    name = re.split(r"[:,]| for ", known["about"])[0]
    if variant:
        head = run.config.get("options", {}).get("head") or {}
        name += f" ({variant}{' head' if head.get('input') == variant else ''})"
    settings, bracket, number = label.removeprefix(strategy).removeprefix(" (").rpartition(")")
    return f"{qualified(name, settings)}{number}" if bracket else name


def qualified(name: str, words: str) -> str:
    """Add words in parentheses, into those that a name has.

    >>> qualified("MVP", "1 seed"), qualified("MVP (lr=1)", "1 seed")
    ('MVP (1 seed)', 'MVP (lr=1, 1 seed)')
    """
    return f"{name[:-1]}, {words})" if name.endswith(")") else f"{name} ({words})"


@dataclass(frozen=True)
class Group:
    """Runs that may be compared.

    Attributes:
        title: recipe, and the differences from other groups of it.
        rows: runs of each row by label, in the order of the runs.
        reference: title of the group that ``differs`` refers to; empty for the first group.
        differs: differences from that group, in words.
        conditions: conditions that its runs share, see
            :func:`~cl_prompts.experiments.results.comparable.tables`.
        replaced: number of older runs of the same settings and seed, by row and seed.
    """

    title: str
    rows: Mapping[str, list[RunRecord]]
    reference: str = ""
    differs: tuple[str, ...] = ()
    conditions: Conditions = field(default_factory=dict)
    replaced: Mapping[str, int] = field(default_factory=dict)

    @property
    def runs(self) -> list[RunRecord]:
        """All runs that count."""
        return [run for members in self.rows.values() for run in members]

    @property
    def seeds(self) -> dict[str, tuple[str, ...]]:
        """Seeds of each row."""
        return {label: tuple(run.seeds for run in members) for label, members in self.rows.items()}

    @property
    def names(self) -> dict[str, str]:
        """Display name of each row; a row of one seed says so where others have more."""
        most = max(map(len, self.rows.values()))
        found: dict[str, str] = {}
        for label, members in self.rows.items():
            name = display_name(label, members[0])
            if len(members) == 1 < most:
                name = qualified(name, "1 seed")
            found[label] = untaken(name, found.values())
        return found

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.runs[0].multi_label

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of its table: those that some run has, with the user's own metrics."""
        found = self._measured(MULTI_LABEL_METRICS if self.multi_label else METRICS)
        # The user's own metrics stand between scores and costs.
        scores = [metric for metric in found if metric.best is not None]
        return (*scores, *self.own_scores, *found[len(scores) :])

    @property
    def own_scores(self) -> tuple[Metric, ...]:
        """The user's own metrics."""
        names = [name for run in self.runs for name in run.summary.get("own_scores") or ()]
        return self._measured(map(own_score, dict.fromkeys(names)))

    @property
    def by_name(self) -> tuple[Metric, ...]:
        """Metrics of a second table: scores under the definitions of other papers."""
        return self._measured(MULTI_LABEL_BY_NAME if self.multi_label else BY_NAME)

    def _measured(self, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
        found = [run.summary for run in self.runs]
        return tuple(
            metric
            for metric in metrics
            if not metric.optional or any(metric.value(one) is not None for one in found)
        )

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of its table."""
        return ("strategy", "seeds", *(metric.title for metric in self.metrics))

    def values(self, lookup: Lookup) -> dict[str, list[float]]:
        """Return the defined values of all runs by row."""
        found = {row: [lookup(run.summary) for run in runs] for row, runs in self.rows.items()}
        return {row: [v for v in values if v is not None] for row, values in found.items()}

    def table(
        self,
        metrics: Sequence[Metric] | None = None,
        *,
        rows: Iterable[str] | None = None,
        reference: str = "",
    ) -> dict[str, list[Aggregate]]:
        """Aggregate each metric for each row.

        Args:
            metrics: by default its ``metrics``.
            rows: labels to compare, in this order; by default all.
            reference: row that differences refer to; empty for none.
        """
        shown = {label: self.rows[label] for label in rows or self.rows}
        found: dict[str, list[Aggregate]] = {label: [] for label in shown}
        for metric in self.metrics if metrics is None else metrics:
            for label, aggregate in aggregates_of(shown, metric, reference).items():
                found[label].append(aggregate)
        return found


def strategy_names(runs: Iterable[RunRecord]) -> dict[str, str]:
    """Return the label of each strategy: its short name where that is unique."""
    return labels_of(str(run.summary["strategy"]) for run in runs)


def groups(runs: Sequence[RunRecord]) -> list[Group]:
    """Divide finished runs into groups of comparable ones, see ``comparable``, and into rows.

    Of several runs with the same settings and seeds, the newest counts. Groups of one recipe stand
    together, the largest first; titles of the others name their differences from it.

    Args:
        runs: runs of any state; unfinished ones are left out.
    """
    names = strategy_names(runs)
    by_recipe: dict[str, list[tuple[Conditions, list[RunRecord]]]] = defaultdict(list)
    for conditions, members in tables(runs):
        recipes = dict.fromkeys(str(run.summary["recipe"]) for run in members)
        by_recipe[", ".join(recipes)].append((conditions, members))
    found: list[Group] = []
    for recipe, divided in by_recipe.items():
        divided.sort(key=lambda table: -len(table[1]))
        main = divided[0][0]
        for conditions, members in divided:
            # The largest group of a recipe is compared with the first of all.
            heads = conditions is main
            against = (found[0].title, found[0].conditions) if heads and found else (recipe, main)
            words = tuple(differences(conditions, against[1]))
            title = recipe if heads else f"{recipe}: {first_of(words, _MAX_WORDS)}"
            title = untaken(title, [part.title for part in found])
            reference = against[0] if words else ""
            rows, replaced = _rows(members, names)
            found.append(Group(title, rows, reference, words, conditions, replaced))
    return found


def untaken(title: str, taken: Collection[str]) -> str:
    """Number a title that is taken.

    >>> untaken("digits", []), untaken("digits", ["digits", "digits [2]"])
    ('digits', 'digits [3]')
    """
    titles = itertools.chain([title], (f"{title} [{number}]" for number in itertools.count(2)))
    return next(one for one in titles if one not in taken)


def _rows(
    runs: Sequence[RunRecord], names: Mapping[str, str]
) -> tuple[dict[str, list[RunRecord]], dict[str, int]]:
    """Runs of each row sorted by seeds, and the number of older runs by row and seed."""
    labels = _labels(runs, names)
    rows: dict[str, dict[tuple[Any, ...], RunRecord]] = {labels[run.folder]: {} for run in runs}
    replaced: dict[str, int] = defaultdict(int)
    # The newest run of equal seeds comes last and stays.
    for run in sorted(runs, key=lambda run: (begun_at(run.environment), run.folder.name)):
        label, seeds = labels[run.folder], run.draw
        if seeds in rows[label]:
            replaced[f"{display_name(label, run)} seed {run.seeds}"] += 1
        rows[label][seeds] = run
    by_label = {label: [row[seed] for seed in sorted(row)] for label, row in rows.items()}
    return by_label, dict(replaced)


def _labels(runs: Sequence[RunRecord], names: Mapping[str, str]) -> dict[object, str]:
    """Label of each run's row: its strategy, and the settings that differ among its runs."""
    by_strategy: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        by_strategy[str(run.summary["strategy"])].append(run)
    rows: dict[tuple[str, str], str] = {}
    labels: dict[object, str] = {}
    for strategy, members in by_strategy.items():
        options = [options_of(run) for run in members]
        # Settings that all runs of a strategy share are not part of their labels.
        keys = _differing(options)
        for run, found in zip(members, options, strict=True):
            extra = ", ".join(f"{key}={found.get(key, 'unset')}" for key in keys)
            label = names[strategy] + (f" ({extra})" if extra else "")
            row = (strategy, json.dumps(found, sort_keys=True))
            # Different settings may read alike: they stay different rows.
            labels[run.folder] = rows.setdefault(row, untaken(label, rows.values()))
    return labels


def _differing(options: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys with several values, or missing in some."""
    keys = sorted(set().union(*options))
    return [key for key in keys if len({one.get(key) for one in options}) > 1]
