"""Results of finished runs: which may be compared, and the table that compares them."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cl_prompts.experiments.names import label_of, labels_of
from cl_prompts.experiments.runs import SETTING_KEYS, Run

# Settings in which runs of one mean may differ; a difference in any other makes a row of its own.
_PER_RUN = {
    "recipe",
    "strategy",
    "seed",
    "stream_seed",
    "device",
    "num_workers",
    "checkpoint_every",
}

#: finds a value in a summary; None where undefined
Lookup = Callable[[Mapping[str, Any]], float | None]


@dataclass(frozen=True)
class Column:
    """Column of a table of results.

    Attributes:
        title: heading.
        value: its value in a summary.
        text: text of the values of all seeds.
        best: picks the best mean; None for a column without a best.
        optional: left out of a table where no run has a value.
    """

    title: str
    value: Lookup
    text: Callable[[Sequence[float]], str]
    best: Callable[[Iterable[float]], float] | None = None
    optional: bool = False


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
    """Runs that may be compared: one recipe on one data set, scenario and backbone.

    Attributes:
        title: the recipe, and what else tells the section from others.
        groups: runs of each row, by its label.
    """

    title: str
    groups: Mapping[str, list[Run]]

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
        columns = MULTI_LABEL_COLUMNS if self.multi_label else COLUMNS
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

    def rows(self) -> list[Row]:
        """Its table.

        The best mean of a column is marked where at least two rows compete in it, all with the same
        seeds. What saw all data at once is a reference and does not compete.
        """
        values = [self.values(column.value) for column in self.columns]
        competing = [label for label, group in self.groups.items() if not group[0].whole_stream]
        seeds = {self.seeds[label] for label in competing}
        best: dict[str, set[int]] = defaultdict(set)
        if len(seeds) == 1:
            offset = len(self.headings) - len(self.columns)
            for i, column in enumerate(self.columns, start=offset):
                for label in _best_rows(column, values[i - offset], competing):
                    best[label].add(i)
        rows = []
        for label, group in self.groups.items():
            texts = [c.text(v[label]) for c, v in zip(self.columns, values, strict=True)]
            rows.append(Row(self.title, (label, str(len(group)), *texts), frozenset(best[label])))
        return rows


def _best_rows(
    column: Column, values: Mapping[str, list[float]], competing: Iterable[str]
) -> list[str]:
    """Rows with the best mean; compared as printed, so that equal texts are marked alike."""
    means = {
        label: round(statistics.mean(values[label]), 3) for label in competing if values[label]
    }
    if column.best is None or len(means) < 2:
        return []
    top = column.best(means.values())
    return [label for label, mean in means.items() if mean == top]


def seeds_of(runs: Iterable[Run]) -> tuple[str, ...]:
    """Seeds of runs, as texts."""
    return tuple(run.seeds for run in runs)


def percent(values: Sequence[float]) -> str:
    """Mean and sample standard deviation (n-1) in percent; ``-`` where undefined.

    >>> percent([0.70, 0.72])
    '71.0 ± 1.4'
    """
    if not values:
        return "-"
    spread = f"{100 * statistics.stdev(values):.1f}" if len(values) > 1 else "-"
    return f"{100 * statistics.mean(values):.1f} ± {spread}"


def _mean(digits: int) -> Callable[[Sequence[float]], str]:
    return lambda values: f"{statistics.mean(values):,.{digits}f}" if values else "-"


def at(*keys: str) -> Lookup:
    """Function that looks up nested ``keys`` in a summary; None for NaN and for what is missing."""

    def value(summary: Any) -> float | None:
        for key in keys:
            summary = (summary or {}).get(key)
        return None if summary is None or math.isnan(summary) else float(summary)

    return value


def own_f1(score: str) -> Lookup:
    """F1 at the model's own threshold; older folders hold it as that of the probability 0.8."""
    of_model, published = at("results", score), at("results", f"{score}_80")

    def value(summary: Any) -> float | None:
        found = of_model(summary)
        return published(summary) if found is None else found

    return value


_COST = (
    Column("trainable", at("trainable_parameters"), _mean(0)),
    Column("images/s", at("images_per_second"), _mean(0)),
    Column("F train", at("forward_passes", "train"), _mean(2)),
    Column("F eval", at("forward_passes", "evaluation"), _mean(2)),
)
COLUMNS = (
    Column("A_AUC\u00a0%", at("results", "a_auc"), percent, max, optional=True),
    Column("A_last\u00a0%", at("results", "a_last"), percent, max),
    Column("forgetting\u00a0%", at("results", "forgetting"), percent, min),
    Column("task forgetting\u00a0%", at("results", "task_forgetting"), percent, min),
    Column("BWT\u00a0%", at("results", "bwt"), percent, max, optional=True),
    Column("FWT\u00a0%", at("results", "fwt"), percent, max, optional=True),
    *_COST,
)
MULTI_LABEL_COLUMNS = (
    Column("A_AUC\u00a0%", at("results", "a_auc"), percent, max, optional=True),
    Column("avg mAP\u00a0%", at("results", "map_avg"), percent, max),
    Column("last mAP\u00a0%", at("results", "map_last"), percent, max),
    Column("CF1\u00a0%", own_f1("cf1"), percent, max),
    Column("OF1\u00a0%", own_f1("of1"), percent, max),
    Column("task forgetting\u00a0%", at("results", "task_forgetting"), percent, min),
    Column("BWT\u00a0%", at("results", "bwt"), percent, max, optional=True),
    Column("FWT\u00a0%", at("results", "fwt"), percent, max, optional=True),
    *_COST,
)


def results_table(runs: Iterable[Run]) -> list[Row]:
    """One row per strategy, and per difference in its settings, of each experiment."""
    return [row for section in sections(runs) for row in section.rows()]


def sections(runs: Iterable[Run]) -> list[Section]:
    """Finished runs by experiment and row; of two runs of the same seeds only the newer counts."""
    by_setting: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run.finished:
            by_setting[tuple(run.summary[key] for key in SETTING_KEYS)].append(run)
    recipes = [setting[0] for setting in by_setting]
    result = []
    for setting, members in by_setting.items():
        recipe, dataset, scenario, backbone, n_tasks, n_classes = setting
        title = recipe
        if recipes.count(recipe) > 1:
            title = (
                f"{recipe}: {label_of(dataset)}, {label_of(scenario)}, {backbone},"
                f" {n_tasks} tasks, {n_classes} classes"
            )
        result.append(Section(title, _groups(members)))
    return result


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
        configs = [dict(_flat(run.config)) for run in members]
        keys = sorted({key for config in configs for key in config})
        differing = [key for key in keys if _differs(key, configs)]
        for run, config in zip(members, configs, strict=True):
            extra = ", ".join(f"{key}={config.get(key, 'unset')}" for key in differing)
            yield names[strategy] + (f" ({extra})" if extra else ""), run


def _differs(key: str, configs: Sequence[Mapping[str, str]]) -> bool:
    return len({config.get(key) for config in configs}) > 1


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if key in _PER_RUN:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", json.dumps(value, default=str)


def _age(run: Run) -> tuple[str, str]:
    """Sort key that puts the newer of two runs last."""
    return str(run.environment.get("time", "")), run.folder.name
