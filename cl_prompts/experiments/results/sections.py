"""Results of finished runs: which may be compared, and the table that compares them."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl_prompts.experiments.recipes.names import labels_of
from cl_prompts.experiments.recipes.values import flat
from cl_prompts.experiments.results.columns import (
    BY_NAME,
    COLUMNS,
    MULTI_LABEL_BY_NAME,
    MULTI_LABEL_COLUMNS,
    Column,
    Lookup,
)
from cl_prompts.experiments.results.comparable import Conditions, tables
from cl_prompts.experiments.results.differences import differences
from cl_prompts.experiments.results.paired import Seeded, paired_difference
from cl_prompts.experiments.run_folder.runs import Run

_N_HEADS = 2  # cells in front of the columns: label and number of seeds
_MAX_WORDS = 4  # differences told in a title


@dataclass(frozen=True)
class Row:
    """Line of a table.

    Attributes:
        section: title of its section.
        cells: texts below the ``headings`` of the section.
        best: places of the cells that are the best of their column.
    """

    section: str
    cells: tuple[str, ...]
    best: frozenset[int]


@dataclass(frozen=True)
class Section:
    """Runs that may be compared.

    Attributes:
        title: the recipe, and what else tells the section from others.
        groups: runs of each row, by its label.
        reference: title of the section that ``differs`` refers to; empty for the first.
        differs: what distinguishes it from that section, in words.
        conditions: what its runs share, see
            :func:`~cl_prompts.experiments.results.comparable.tables`.
    """

    title: str
    groups: Mapping[str, list[Run]]
    reference: str = ""
    differs: tuple[str, ...] = ()
    conditions: Conditions = field(default_factory=dict)

    @property
    def runs(self) -> list[Run]:
        """All runs that count."""
        return [run for group in self.groups.values() for run in group]

    @property
    def seeds(self) -> dict[str, tuple[str, ...]]:
        """Seeds of each row."""
        return {label: seeds_of(group) for label, group in self.groups.items()}

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.runs[0].multi_label

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of its table: A_AUC, BWT and FWT only where some run has them."""
        return self._measured(MULTI_LABEL_COLUMNS if self.multi_label else COLUMNS)

    @property
    def by_name(self) -> tuple[Column, ...]:
        """Columns of a second table: what papers report under other definitions."""
        return self._measured(MULTI_LABEL_BY_NAME if self.multi_label else BY_NAME)

    def _measured(self, columns: Iterable[Column]) -> tuple[Column, ...]:
        return tuple(column for column in columns if not column.optional or self._has(column))

    def _has(self, column: Column) -> bool:
        return any(column.value(run.summary) is not None for run in self.runs)

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of its table."""
        return ("strategy", "seeds", *(column.title for column in self.columns))

    def values(self, lookup: Lookup) -> dict[str, list[float]]:
        """Values of all runs where they are defined, by row."""
        found = {}
        for label, group in self.groups.items():
            values = [lookup(run.summary) for run in group]
            found[label] = [value for value in values if value is not None]
        return found

    def rows(self, columns: Sequence[Column] | None = None) -> list[Row]:
        """Its table, below the label and the number of seeds; by default of its ``columns``.

        In each column :func:`best_rows` are marked. What saw all data at once is a bound and does
        not compete.
        """
        columns = self.columns if columns is None else columns
        values = [self.values(column.value) for column in columns]
        competing = [label for label, group in self.groups.items() if not group[0].whole_stream]
        best: dict[str, set[int]] = defaultdict(set)
        for i, column in enumerate(columns):
            found = {label: seeded_values(self.groups[label], column) for label in competing}
            for label in best_rows(column, {label: v for label, v in found.items() if v}):
                best[label].add(i + _N_HEADS)
        rows = []
        for label, group in self.groups.items():
            texts = [c.text(v[label]) for c, v in zip(columns, values, strict=True)]
            rows.append(Row(self.title, (label, str(len(group)), *texts), frozenset(best[label])))
        return rows


def seeded_values(runs: Iterable[Run], column: Column) -> dict[tuple[int, int], float]:
    """Values of a column where they are defined, by (seed, stream seed)."""
    found = {}
    for run in runs:
        value = column.value(run.summary)
        if value is not None:
            found[run.summary["seed"], run.summary["stream_seed"]] = value
    return found


def best_rows(column: Column, values: Mapping[str, Seeded]) -> set[str]:
    """The row with the best mean, and all whose paired difference from it is not significant.

    None where fewer than two rows compete, where their seeds differ, or with a single seed.
    """
    seeds = {frozenset(found) for found in values.values()}
    if column.best is None or len(values) < 2 or len(seeds) != 1 or len(next(iter(seeds))) < 2:
        return set()
    means = {row: statistics.mean(found.values()) for row, found in values.items()}
    top = column.best(means.values())
    best = next(row for row, mean in means.items() if mean == top)
    ties = {best}
    for row, found in values.items():
        gap = paired_difference(values[best], found)
        if gap is not None and not gap.significant:
            ties.add(row)
    return ties


def seeds_of(runs: Iterable[Run]) -> tuple[str, ...]:
    """Seeds of runs, as texts."""
    return tuple(run.seeds for run in runs)


def results_table(runs: Iterable[Run]) -> list[Row]:
    """One row per strategy, and per difference in its settings, of each experiment."""
    return [row for section in sections(runs) for row in section.rows()]


def sections(runs: Iterable[Run]) -> list[Section]:
    """Tables of finished runs that may be compared, see ``comparable``, and the rows of each.

    Of two runs of the same settings and seeds only the newer counts. Tables of one recipe stand
    together, that of most runs first; the others are headed by what differs from it.
    """
    by_name: dict[str, list[tuple[Conditions, list[Run]]]] = defaultdict(list)
    for conditions, members in tables(runs):
        recipes = dict.fromkeys(str(run.summary["recipe"]) for run in members)
        by_name[", ".join(recipes)].append((conditions, members))
    found: list[Section] = []
    first: tuple[str, Conditions] | None = None
    for name, group in by_name.items():
        group.sort(key=lambda table: -len(table[1]))
        main = (name, group[0][0])
        first = first or main
        for conditions, members in group:
            # The main table of a recipe is compared with the first of all.
            heads = conditions is main[1]
            reference = first if heads else main
            words = tuple(differences(conditions, reference[1]))
            title = name if heads else f"{name}: {in_short(words)}"
            named = reference[0] if words else ""
            found.append(Section(title, _groups(members), named, words, conditions))
    return found


def in_short(words: Sequence[str]) -> str:
    """The first differences, and how many more there are."""
    more = f" and {len(words) - _MAX_WORDS} more" if len(words) > _MAX_WORDS else ""
    return ", ".join(words[:_MAX_WORDS]) + more


def _groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of each row, by label, sorted by seeds."""
    groups: dict[str, dict[tuple[int, int], Run]] = defaultdict(dict)
    for label, run in sorted(_labelled(runs), key=lambda pair: (pair[0], *_age(pair[1]))):
        # The newest of equal seeds comes last and stays.
        groups[label][run.summary["seed"], run.summary["stream_seed"]] = run
    return {label: list(dict(sorted(runs.items())).values()) for label, runs in groups.items()}


def _labelled(runs: Sequence[Run]) -> Iterator[tuple[str, Run]]:
    """Each run with the label of its row: strategy, and settings in which its runs differ."""
    names = labels_of(str(run.summary["strategy"]) for run in runs)
    by_strategy: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_strategy[str(run.summary["strategy"])].append(run)
    for strategy, members in by_strategy.items():
        options = [_options_of(run) for run in members]
        keys = sorted({key for found in options for key in found})
        differing = [key for key in keys if len({found.get(key) for found in options}) > 1]
        for run, found in zip(members, options, strict=True):
            extra = ", ".join(f"{key}={found.get(key, 'unset')}" for key in differing)
            yield names[strategy] + (f" ({extra})" if extra else ""), run


def _options_of(run: Run) -> dict[str, str]:
    """Options of its strategy, as recipes write them."""
    return {key: _written(value) for key, value in flat(run.config.get("options") or {})}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _age(run: Run) -> tuple[str, str]:
    """Sort key that puts the newer of two runs last."""
    return str(run.environment.get("time", "")), run.folder.name
