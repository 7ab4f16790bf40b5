"""Groups of comparable runs: their rows, their tables, and how groups differ in words."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cl_prompts.catalog import catalog
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.errors import InputError, first_of, unknown
from cl_prompts.experiments.results.aggregates import Aggregate, Draw, aggregates_of
from cl_prompts.experiments.results.comparable import Conditions, options_of, tables
from cl_prompts.experiments.results.metrics import BY_NAME, METRICS, Metric, score
from cl_prompts.experiments.run_folder.runs import RunRecord, begun_at
from cl_prompts.user_code import label_of, labels_of

#: conditions that follow from a choice, and are not listed where the choice itself differs
_FOLLOWS = {"data": "dataset.name", "backbone": "backbone.name"}
_UNSET = "not recorded"
_MAX_LENGTH = 40  # of a value in words
_MAX_WORDS = 4  # differences named in a title


def differences(conditions: Conditions, reference: Conditions) -> list[str]:
    """List the conditions that differ between two groups, in words.

    Settings that only exist for another data set, scenario or backbone are left out.

    >>> differences({"scenario.blurry_percent": 60}, {"scenario.blurry_percent": 10})
    ['blurry_percent 60 instead of 10']
    """
    keys = dict.fromkeys((*conditions, *reference))
    pairs = {key: (conditions.get(key, _UNSET), reference.get(key, _UNSET)) for key in keys}
    differing = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    words: dict[str, None] = {}
    for key, pair in differing.items():
        choice = _FOLLOWS.get(key, f"{key.partition('.')[0]}.name")
        follows = key in _FOLLOWS or _UNSET in pair
        if key == choice or choice not in differing or not follows:
            words[_in_words(key, *pair)] = None
    return list(words)


def _in_words(key: str, value: Any, reference: Any) -> str:
    if key == "data":
        return f"data: {fingerprint_change(reference, value) or 'differs'}"
    if key.startswith("parent.") and _UNSET in (value, reference):
        return f"continues {'no' if value == _UNSET else 'a'} finished run"
    name = key if key.startswith("parent.") else key.removesuffix(".name").rpartition(".")[2]
    words = [_word(value), _word(reference)]
    # Own code may have equal short names, and long values may begin alike.
    return f"{name} {' instead of '.join(words) if words[0] != words[1] else 'differs'}"


def _word(value: object) -> str:
    """Shorten a value as recipes write it."""
    word = label_of(value) if isinstance(value, str) else json.dumps(value).replace("null", "none")
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
    """Runs that may be compared, and the row that the others are compared with.

    Attributes:
        title: recipe, and the differences from other groups of it.
        rows: runs of each row by label, in the order of the runs.
        reference: row that differences refer to.
        differs_from: title of the group that ``differs`` refers to; empty for the first group.
        differs: differences from that group, in words.
        replaced: number of older runs of the same settings and seed, by row and seed.
    """

    title: str
    rows: Mapping[str, list[RunRecord]]
    reference: str = ""
    differs_from: str = ""
    differs: tuple[str, ...] = ()
    replaced: Mapping[str, int] = field(default_factory=dict)

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
        found = self._measured(METRICS[self.multi_label])
        # The user's own metrics stand between scores and costs.
        n_scores = sum(metric.best is not None for metric in found)
        return (*found[:n_scores], *self.own_scores, *found[n_scores:])

    @property
    def own_scores(self) -> tuple[Metric, ...]:
        """The user's own metrics."""
        names = [name for run in self.runs for name in run.summary.get("own_scores") or ()]
        return self._measured(score(name, name) for name in dict.fromkeys(names))

    @property
    def by_name(self) -> tuple[Metric, ...]:
        """Metrics of a second table: scores under the definitions of other papers."""
        return self._measured(BY_NAME[self.multi_label])

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


def choose(parts: Sequence[Group], reference: str | None, rows: Sequence[str] = ()) -> list[Group]:
    """Choose reference and rows of each group, see :meth:`Group.choose`; without empty groups.

    Raises:
        InputError: no group has a row of such a name, or a group has several for its reference.
    """
    labels = [label for part in parts for label in part.rows]
    for name in (*rows, *([] if reference is None else [reference])):
        # A row need not be in every group.
        if parts and not named_rows(name, labels):
            raise unknown("row of these runs", name, labels)
    return [part for part in (part.choose(reference, rows) for part in parts) if part.rows]


def groups(runs: Sequence[RunRecord]) -> list[Group]:
    """Divide finished runs into groups of comparable ones, see ``comparable``, and into rows.

    Of several runs with the same settings and seeds, the newest counts. Groups of one recipe stand
    together, the largest first; titles of the others name their differences from it.

    Args:
        runs: runs of any state; unfinished ones are left out.
    """
    names = labels_of(str(run.summary["strategy"]) for run in runs)
    by_recipe: dict[str, list[tuple[Conditions, list[RunRecord]]]] = defaultdict(list)
    for conditions, members in tables(runs):
        recipes = dict.fromkeys(str(run.summary["recipe"]) for run in members)
        by_recipe[", ".join(recipes)].append((conditions, members))
    found: list[Group] = []
    first: tuple[str, Conditions] | None = None
    for recipe, divided in by_recipe.items():
        divided.sort(key=lambda table: -len(table[1]))
        main = (recipe, divided[0][0])
        first = first or main
        for conditions, members in divided:
            # The largest group of a recipe is compared with the first of all.
            heads = conditions is main[1]
            against, theirs = first if heads else main
            words = tuple(differences(conditions, theirs))
            title = recipe if heads else f"{recipe}: {first_of(words, _MAX_WORDS)}"
            title = untaken(title, [part.title for part in found])
            rows, replaced = _rows(members, names)
            group = Group(title, rows, "", against if words else "", words, replaced)
            found.append(group.choose())
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
    rows: dict[str, dict[Draw, RunRecord]] = {labels[run.folder]: {} for run in runs}
    replaced: dict[str, int] = defaultdict(int)
    # The newest run of equal seeds comes last and stays.
    for run in sorted(runs, key=lambda run: (begun_at(run.environment), run.folder.name)):
        label = labels[run.folder]
        if run.draw in rows[label]:
            replaced[f"{display_name(label, run)} seed {run.seeds}"] += 1
        rows[label][run.draw] = run
    by_label = {label: [row[seed] for seed in sorted(row)] for label, row in rows.items()}
    return by_label, dict(replaced)


def _labels(runs: Sequence[RunRecord], names: Mapping[str, str]) -> dict[Path, str]:
    """Label of each run's row: its strategy, and the settings that differ among its runs."""
    by_strategy: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        by_strategy[str(run.summary["strategy"])].append(run)
    rows: dict[tuple[str, str], str] = {}
    labels: dict[Path, str] = {}
    for strategy, members in by_strategy.items():
        options = [options_of(run) for run in members]
        met: dict[str, set[str]] = defaultdict(set)
        for key, value in (item for given in options for item in given.items()):
            met[key].add(value)
        # Labels have the settings that differ among the runs that have them.
        keys = sorted(key for key, values in met.items() if len(values) > 1)
        for run, given in zip(members, options, strict=True):
            extra = ", ".join(f"{key}={given.get(key, 'unset')}" for key in keys)
            label = names[strategy] + (f" ({extra})" if extra else "")
            row = (strategy, json.dumps(given, sort_keys=True))
            # Different settings may read alike: they stay different rows.
            labels[run.folder] = rows.setdefault(row, untaken(label, rows.values()))
    return labels
