"""Results of finished runs: which may be compared, what distinguishes those that may not, and the
table that compares them."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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

_WORDS = {
    "dataset.name": "data set",
    "scenario.name": "scenario",
    "backbone.name": "backbone",
    "backbone": "hash of the weights",
    "version": "cl-prompts",
    "source": "source of cl-prompts",
    "stream": "fingerprint of the stream",
}
#: what comes with a choice, and is not listed where the choice itself differs
_FOLLOWS = {"data": "dataset.name", "backbone": "backbone.name"}
_MAX_LENGTH = 40  # of a value in words
_MAX_WORDS = 4  # differences named in a title


def differences(conditions: Conditions, reference: Conditions) -> list[str]:
    """In words, what distinguishes a table from another.

    >>> differences({"scenario.blurry_percent": "60"}, {"scenario.blurry_percent": "10"})
    ['blurry_percent 60 instead of 10']

    What only comes with a choice, such as the parameters of another scenario, is not listed.
    """
    keys = dict.fromkeys((*conditions, *reference))
    differing = [key for key in keys if conditions.get(key) != reference.get(key)]
    shown = [key for key in differing if not _follows(key, differing, conditions, reference)]
    names = [_name_of(key) for key in shown]
    words = [
        # Two groups may have a setting of the same name.
        _in_words(name if names.count(name) == 1 else key, conditions.get(key), reference.get(key))
        for key, name in zip(shown, names, strict=True)
    ]
    return list(dict.fromkeys(words))


def _name_of(key: str) -> str:
    return _WORDS.get(key, key if key.startswith("parent.") else key.rpartition(".")[2])


def _follows(
    key: str, differing: Sequence[str], conditions: Conditions, reference: Conditions
) -> bool:
    """Whether a difference only comes with that of a choice: another scenario, another backbone."""
    choice = _FOLLOWS.get(key, f"{key.partition('.')[0]}.name")
    one_sided = key not in conditions or key not in reference
    return key != choice and choice in differing and (one_sided or key in _FOLLOWS)


def _in_words(name: str, value: str | None, reference: str | None) -> str:
    if name == "data" and value and reference:
        return f"data: {fingerprint_change(json.loads(reference), json.loads(value)) or 'differs'}"
    if name.startswith("parent.") and None in (value, reference):
        return f"goes on from {'no' if value is None else 'a'} finished run"
    words = [_word(value), _word(reference)]
    # Two names of one's own may end alike, and two long values begin alike.
    return f"{name} {' instead of '.join(words) if words[0] != words[1] else 'differs'}"


def _word(text: str | None) -> str:
    """A recorded value as a recipe writes it, shortened."""
    if text is None:
        return "not recorded"
    value = json.loads(text)
    word = label_of(value) if isinstance(value, str) else "none" if value is None else text
    return word if len(word) <= _MAX_LENGTH else f"{word[:8]}…"


@dataclass(frozen=True)
class Group:
    """Runs that may be compared.

    Attributes:
        title: the recipe, and what else tells the group from others.
        rows: runs of each row, by its label, in the order in which the runs came.
        reference: title of the group that ``differs`` refers to; empty for the first.
        differs: what distinguishes it from that group, in words.
        conditions: what its runs share, see
            :func:`~cl_prompts.experiments.results.comparable.tables`.
    """

    title: str
    rows: Mapping[str, list[RunRecord]]
    reference: str = ""
    differs: tuple[str, ...] = ()
    conditions: Conditions = field(default_factory=dict)

    @property
    def runs(self) -> list[RunRecord]:
        """All runs that count."""
        return [run for members in self.rows.values() for run in members]

    @property
    def seeds(self) -> dict[str, tuple[str, ...]]:
        """Seeds of each row."""
        return {label: tuple(run.seeds for run in members) for label, members in self.rows.items()}

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.runs[0].multi_label

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Columns of its table: A_AUC, BWT and FWT only where some run has them, and metrics of
        the user's own."""
        found = self._measured(MULTI_LABEL_METRICS if self.multi_label else METRICS)
        # Scores of one's own stand behind the other scores and in front of the costs.
        scores = [metric for metric in found if metric.best is not None]
        return (*scores, *self.own_scores, *found[len(scores) :])

    @property
    def own_scores(self) -> tuple[Metric, ...]:
        """Columns of metrics of the user's own."""
        names = [name for run in self.runs for name in run.summary.get("own_scores") or ()]
        return self._measured(map(own_score, dict.fromkeys(names)))

    @property
    def by_name(self) -> tuple[Metric, ...]:
        """Columns of a second table: what papers report under other definitions."""
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
        """Values of all runs where they are defined, by row."""
        found = {
            row: [lookup(run.summary) for run in members] for row, members in self.rows.items()
        }
        return {row: [v for v in values if v is not None] for row, values in found.items()}

    def table(
        self,
        metrics: Sequence[Metric] | None = None,
        *,
        rows: Iterable[str] | None = None,
        reference: str = "",
    ) -> dict[str, list[Aggregate]]:
        """Entries of each row.

        Args:
            metrics: by default its ``metrics``.
            rows: labels that take part, in their order; by default all.
            reference: row that differences refer to; empty for none.
        """
        shown = {label: self.rows[label] for label in rows or self.rows}
        found: dict[str, list[Aggregate]] = {label: [] for label in shown}
        for metric in self.metrics if metrics is None else metrics:
            for label, aggregate in aggregates_of(shown, metric, reference).items():
                found[label].append(aggregate)
        return found


def strategy_names(runs: Iterable[RunRecord]) -> dict[str, str]:
    """Name of each strategy in tables: the short one, where that is of one of them alone."""
    return labels_of(str(run.summary["strategy"]) for run in runs)


def groups(runs: Sequence[RunRecord]) -> list[Group]:
    """Tables of finished runs that may be compared, see ``comparable``, and the rows of each.

    Of two runs of the same settings and seeds only the newer counts. Tables of one recipe stand
    together, that of most runs first; the others are headed by what differs from it.

    Args:
        runs: of any kind; those that are not finished do not count.
    """
    names = strategy_names(runs)
    by_recipe: dict[str, list[tuple[Conditions, list[RunRecord]]]] = defaultdict(list)
    for conditions, members in tables(runs):
        recipes = dict.fromkeys(str(run.summary["recipe"]) for run in members)
        by_recipe[", ".join(recipes)].append((conditions, members))
    found: list[Group] = []
    for recipe, divided in by_recipe.items():
        # The table with the most runs is the main one of its recipe.
        divided.sort(key=lambda table: -len(table[1]))
        main = divided[0][0]
        for conditions, members in divided:
            # The main table of a recipe is compared with the first of all.
            heads = conditions is main
            against = (found[0].title, found[0].conditions) if heads and found else (recipe, main)
            words = tuple(differences(conditions, against[1]))
            title = recipe if heads else f"{recipe}: {in_short(words)}"
            title = untaken(title, [part.title for part in found])
            reference = against[0] if words else ""
            found.append(Group(title, _groups(members, names), reference, words, conditions))
    return found


def untaken(title: str, taken: Collection[str]) -> str:
    """A title, with a number behind it where there is one like it.

    >>> untaken("digits", []), untaken("digits", ["digits", "digits [2]"])
    ('digits', 'digits [3]')
    """
    titles = itertools.chain([title], (f"{title} [{number}]" for number in itertools.count(2)))
    return next(one for one in titles if one not in taken)


def in_short(words: Sequence[str]) -> str:
    """The first differences, and how many more there are."""
    return first_of(words, _MAX_WORDS)


def differing_options(options: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that have several values, or are missing in some."""
    keys = sorted(set().union(*options))
    return [key for key in keys if len({one.get(key) for one in options}) > 1]


def _groups(runs: Sequence[RunRecord], names: Mapping[str, str]) -> dict[str, list[RunRecord]]:
    """Runs of each row, by label in the order of the runs, sorted by seeds."""
    labels = _labels(runs, names)
    rows: dict[str, dict[tuple[int, int], RunRecord]] = {labels[run.folder]: {} for run in runs}
    # The newest of equal seeds comes last and stays.
    for run in sorted(runs, key=lambda run: (begun_at(run.environment), run.folder.name)):
        rows[labels[run.folder]][run.summary["seed"], run.summary["stream_seed"]] = run
    return {label: [by_seed[seed] for seed in sorted(by_seed)] for label, by_seed in rows.items()}


def _labels(runs: Sequence[RunRecord], names: Mapping[str, str]) -> dict[object, str]:
    """The label of each run's row: strategy, and settings in which its runs differ."""
    by_strategy: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        by_strategy[str(run.summary["strategy"])].append(run)
    rows: dict[tuple[str, str], str] = {}
    labels: dict[object, str] = {}
    for strategy, members in by_strategy.items():
        options = [options_of(run) for run in members]
        # What all runs of a strategy share need not stand in their labels.
        keys = differing_options(options)
        for run, found in zip(members, options, strict=True):
            extra = ", ".join(f"{key}={found.get(key, 'unset')}" for key in keys)
            label = names[strategy] + (f" ({extra})" if extra else "")
            row = (strategy, json.dumps(found, sort_keys=True))
            # Texts among settings may be such that two rows read alike: they stay two.
            labels[run.folder] = rows.setdefault(row, untaken(label, rows.values()))
    return labels
