"""Run folders read back: which runs count, what their numbers are, and the table that compares
them."""

from __future__ import annotations

import csv
import json
import math
import statistics
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cl_prompts.errors import InputError
from cl_prompts.experiments import pictures

_STATUSES = ("finished", "running", "interrupted", "failed")
_SETTING = ("recipe", "dataset", "scenario", "backbone", "n_tasks", "n_classes")
_KEYS = ("status", "strategy", "seed", "stream_seed", *_SETTING)
_FINISHED_KEYS = ("results", "task_ends", "samples", "command", "trainable_parameters")
_HEADER = ["samples_seen", "metric", "scope", "value"]
# Settings in which runs of one mean may differ; in all others a difference makes a row of its own.
_PER_RUN = {"recipe", "strategy", "seed", "stream_seed", "device", "num_workers"}
Series = Mapping[str, Mapping[str, list[tuple[int, float]]]]


@dataclass(frozen=True)
class Run:
    """One run folder. Of a run that is not finished only the summary is read, since the rest may be
    half written.

    ``metrics[metric][scope]`` is the list of (samples seen, value) in the order written.
    """

    folder: Path
    summary: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    stream: Mapping[str, Any] = field(default_factory=dict)
    metrics: Series = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return bool(self.summary["status"] == "finished")

    @property
    def multi_label(self) -> bool:
        return bool(self.summary.get("multi_label"))

    @property
    def measure(self) -> str:
        """What its evaluations measure, as ``metrics.csv`` names it."""
        return "map" if self.multi_label else "accuracy"

    @property
    def seeds(self) -> str:
        """The seed, and the stream's where it is another one."""
        seed, stream = self.summary["seed"], self.summary["stream_seed"]
        return f"{seed}" if seed == stream else f"{seed} (stream {stream})"


@dataclass(frozen=True)
class Row:
    """A line of a section's table: the texts below its ``headings``, and the places of those best
    in their column."""

    section: str
    cells: tuple[str, ...]
    best: frozenset[int]


@dataclass(frozen=True)
class Column:
    """Title of a column, its value in a summary (None: undefined), the text of all seeds' values,
    what is best."""

    title: str
    value: Callable[[Mapping[str, Any]], float | None]
    text: Callable[[Sequence[float]], str]
    best: Callable[[Iterable[float]], float] | None = None


def percent(values: Sequence[float]) -> str:
    """``71.2 ± 1.3``: mean and sample standard deviation (n-1) in percent; ``-`` where there is
    none."""
    if not values:
        return "-"
    spread = f"{100 * statistics.stdev(values):.1f}" if len(values) > 1 else "-"
    return f"{100 * statistics.mean(values):.1f} ± {spread}"


def _plain(digits: int) -> Callable[[Sequence[float]], str]:
    return lambda values: f"{statistics.mean(values):,.{digits}f}" if values else "-"


def at(*keys: str) -> Callable[[Mapping[str, Any]], float | None]:
    def value(summary: Any) -> float | None:
        for key in keys:
            summary = (summary or {}).get(key)
        return None if summary is None or math.isnan(summary) else float(summary)

    return value


_COST = (
    Column("trainable", at("trainable_parameters"), _plain(0)),
    Column("images/s", at("images_per_second"), _plain(0)),
    Column("F train", at("forward_passes", "train"), _plain(2)),
    Column("F eval", at("forward_passes", "evaluation"), _plain(2)),
)
COLUMNS = (
    Column("A_AUC\u00a0%", at("results", "a_auc"), percent, max),
    Column("A_last\u00a0%", at("results", "a_last"), percent, max),
    Column("forgetting\u00a0%", at("results", "forgetting"), percent, min),
    Column("task forgetting\u00a0%", at("results", "task_forgetting"), percent, min),
    *_COST,
)
MULTI_LABEL_COLUMNS = (
    Column("A_AUC\u00a0%", at("results", "a_auc"), percent, max),
    Column("avg mAP\u00a0%", at("results", "map_avg"), percent, max),
    Column("last mAP\u00a0%", at("results", "map_last"), percent, max),
    Column("CF1\u00a0%", at("results", "cf1_80"), percent, max),
    Column("OF1\u00a0%", at("results", "of1_80"), percent, max),
    Column("task forgetting\u00a0%", at("results", "task_forgetting"), percent, min),
    *_COST,
)


@dataclass(frozen=True)
class Section:
    """Runs that may be compared: one recipe on one data set, scenario and backbone; ``groups``:
    runs of each row."""

    title: str
    groups: Mapping[str, list[Run]]

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups.values() for run in group]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of its table; A_AUC only where some run has an anytime curve."""
        auc, *others = MULTI_LABEL_COLUMNS if self.runs[0].multi_label else COLUMNS
        there = any(auc.value(run.summary) is not None for run in self.runs)
        return (auc, *others) if there else tuple(others)

    @property
    def headings(self) -> tuple[str, ...]:
        return ("strategy", "seeds", *(c.title for c in self.columns))


def collect(paths: Iterable[Path | str]) -> list[Run]:
    """All runs in ``paths``, each a run folder or any folder above some, sorted by recipe,
    strategy, seed and folder.

    Raises:
        InputError: a path does not exist, there is no run below it, a run folder lacks files or
            cannot be read, or further run folders lie inside a run folder.
    """
    found: dict[Path, Run] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise InputError(
                f"there is no folder {path}: name run folders, or a folder above them such as runs/"
            )
        folders = sorted(p.parent for p in path.rglob("summary.json"))
        for part in path.rglob("metrics.csv"):
            if part.parent not in folders:
                raise InputError(
                    f"{part.parent} is no complete run folder: it holds metrics.csv but no"
                    " summary.json"
                )
        if not folders:
            raise InputError(f"there is no run below {path}: no folder in it holds a summary.json")
        for folder in folders:
            if above := [p for p in folder.parents if p in folders]:
                raise InputError(
                    f"{above[0]} is a run folder and holds another one, {folder}: move one of them"
                    " away"
                )
            if folder.resolve() not in found:
                found[folder.resolve()] = _read_run(folder)
    if not found:
        raise InputError(
            "no run folder was named: name run folders, or a folder above them such as runs/"
        )
    order = ("recipe", "strategy")
    return sorted(
        found.values(),
        key=lambda r: ([str(r.summary[k]) for k in order], r.summary["seed"], str(r.folder)),
    )


def results_table(runs: Iterable[Run]) -> list[Row]:
    """One row for each strategy (and each difference in its settings) of each experiment, over its
    finished runs.

    The best mean of a column is marked where at least two rows compete in it, all with the same
    seeds. Rows without A_AUC (``joint``, which sees all data at once) are references and do not
    compete.
    """
    return [row for section in sections(runs) for row in rows_of(section)]


def sections(runs: Iterable[Run]) -> list[Section]:
    """The finished runs that count, by experiment and row. Titles are the recipe, and what else is
    needed to tell."""
    by_setting: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run.finished:
            by_setting[tuple(run.summary[k] for k in _SETTING)].append(run)
    recipes = [setting[0] for setting in by_setting]
    result = []
    for setting, members in by_setting.items():
        recipe, dataset, scenario, backbone, n_tasks, n_classes = setting
        full = f"{recipe}: {dataset}, {scenario}, {backbone}, {n_tasks} tasks, {n_classes} classes"
        groups: dict[str, dict[tuple[Any, ...], Run]] = defaultdict(dict)
        for run, label in sorted(_labelled(members), key=lambda pair: (pair[1], *_age(pair[0]))):
            groups[label][run.summary["seed"], run.summary["stream_seed"]] = (
                run  # the newest comes last and stays
            )
        kept = {label: [runs[key] for key in sorted(runs)] for label, runs in groups.items()}
        result.append(Section(recipe if recipes.count(recipe) == 1 else full, kept))
    return result


def rows_of(section: Section) -> list[Row]:
    columns = section.columns
    values = {
        label: [[v for run in group if (v := c.value(run.summary)) is not None] for c in columns]
        for label, group in section.groups.items()
    }
    # What had all data at once is a reference.
    competing = [
        label for label, group in section.groups.items() if not group[0].summary.get("whole_stream")
    ]
    alike = len({tuple(run.seeds for run in section.groups[label]) for label in competing}) == 1
    best: dict[str, set[int]] = defaultdict(set)
    for i, column in enumerate(columns):
        # Compared as printed, so that equal texts are marked alike.
        means = {
            label: round(statistics.mean(values[label][i]), 3)
            for label in competing
            if values[label][i]
        }
        if column.best and alike and len(means) > 1:
            top = column.best(means.values())
            for label in (name for name, mean in means.items() if mean == top):
                best[label].add(len(section.headings) - len(columns) + i)
    rows = []
    for label, group in section.groups.items():
        texts = (c.text(v) for c, v in zip(columns, values[label], strict=True))
        rows.append(Row(section.title, (label, str(len(group)), *texts), frozenset(best[label])))
    return rows


def curve_of(run: Run) -> list[tuple[int, float]]:
    return run.metrics.get(f"anytime_{run.measure}", {}).get("seen", [])


def task_curve_of(run: Run) -> list[float]:
    """What was measured after each task, NaN where no class had been seen."""
    ends = dict(run.metrics.get(f"task_end_{run.measure}", {}).get("seen", []))
    return [ends.get(end, math.nan) for end in run.summary["task_ends"]]


def class_matrix(run: Run) -> tuple[list[int], pictures.Floats]:
    """Points (anytime points, or task ends of a run without) and (classes, points) values, NaN
    before a class is seen."""
    kind = "anytime" if curve_of(run) else "task_end"
    series = run.metrics.get(f"{kind}_{run.measure}", {})
    x = [point for point, _ in series.get("seen", [])]
    by_class = [dict(series.get(f"class:{c}", [])) for c in range(run.summary["n_classes"])]
    return x, np.array([[values.get(point, np.nan) for point in x] for values in by_class])


def task_matrix(run: Run) -> pictures.Floats:
    """(tasks, tasks): ``[i, t]`` accuracy after task t on the classes first seen in task i, NaN
    where unmeasured.

    Looked up by samples seen: tasks without samples end where the task before them ended, and with
    its accuracies.
    """
    series, n_tasks = run.metrics.get(f"task_end_{run.measure}", {}), run.summary["n_tasks"]
    by_task = [dict(series.get(f"task:{i}", [])) for i in range(n_tasks)]
    return np.array(
        [[values.get(end, np.nan) for end in run.summary["task_ends"]] for values in by_task]
    )


def stream_view(stream: Mapping[str, Any]) -> dict[str, Any]:
    """What ``pictures.stream_figure`` needs of a stream: of a multi-label one, the classes
    annotated in each task."""
    if "anchors" not in stream:
        return dict(stream)
    blurry = stream["anchors"]
    visible = [[c for c, n in enumerate(row) if n] for row in stream["counts"]]
    return {
        "counts": stream["counts"],
        "disjoint_classes": blurry["disjoint_classes"] if blurry else visible,
        "blurry_classes": blurry["blurry_classes"] if blurry else [[] for _ in visible],
    }


def examples_of(run: Run) -> dict[str, np.ndarray] | None:
    """``images`` (n, 3, h, w) uint8, ``truth`` and ``predicted`` (n, classes) bool of some test
    images; multi-label runs only."""
    path = run.folder / "examples.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("images", "truth", "predicted")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"cannot read {path} of a run: repeat the run or delete that file"
        ) from error


def usage_matrix(run: Run) -> pictures.Floats:
    """(tasks, prompts) selections made during each task; no columns for a method without prompt
    usage."""
    series = run.metrics.get("prompt_usage", {})
    prompts = sorted(series, key=lambda scope: int(scope.partition(":")[2]))
    by_prompt = [dict(series[scope]) for scope in prompts]
    totals = np.zeros((run.summary["n_tasks"] + 1, len(prompts)))
    for t, end in enumerate(run.summary["task_ends"], start=1):
        totals[t] = [values.get(end, 0) for values in by_prompt]  # 0: before the first sample
    return np.diff(totals, axis=0)


def _labelled(runs: Sequence[Run]) -> list[tuple[Run, str]]:
    """Each run with its row: the strategy, and the settings in which runs of that strategy
    differ."""
    flat = {run.folder: dict(_flat(run.config)) for run in runs}
    result = []
    for run in runs:
        rivals = [flat[r.folder] for r in runs if r.summary["strategy"] == run.summary["strategy"]]
        keys = sorted({key for config in rivals for key in config})
        differing = [k for k in keys if len({config.get(k, "unset") for config in rivals}) > 1]
        extra = ", ".join(f"{k}={flat[run.folder].get(k, 'unset')}" for k in differing)
        result.append((run, str(run.summary["strategy"]) + (f" ({extra})" if extra else "")))
    return result


def _flat(config: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    for key, value in config.items():
        if key in _PER_RUN:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", json.dumps(value, default=str)


def _age(run: Run) -> tuple[str, str]:
    """Sorts the newer of two runs of one seed last."""
    return str(run.environment.get("time", "")), run.folder.name


def _read_run(folder: Path) -> Run:
    summary = _read(folder / "summary.json", json.loads)
    missing = [k for k in _KEYS if k not in summary]
    if not missing and summary["status"] == "finished":
        missing = [k for k in _FINISHED_KEYS if k not in summary]
    if missing:
        raise InputError(
            f"{folder / 'summary.json'} is not the summary of a run: it lacks {', '.join(missing)}"
        )
    if summary["status"] not in _STATUSES:
        raise InputError(
            f"{folder / 'summary.json'} has the status {summary['status']!r}: known are"
            f" {', '.join(_STATUSES)}"
        )
    if summary["status"] != "finished":
        return Run(folder, summary)
    stream = _read(folder / "stream.json", json.loads)
    shape = [summary["n_classes"]] * summary["n_tasks"]
    n_ends = 1 if summary.get("whole_stream") else len(shape)
    if [len(row) for row in stream.get("counts", ())] != shape or len(
        summary["task_ends"]
    ) != n_ends:
        raise InputError(
            f"{folder} mixes two runs: its stream.json and summary.json differ in tasks or classes"
        )
    return Run(
        folder,
        summary,
        config=_read(folder / "config.yaml", yaml.safe_load),
        environment=_read(folder / "environment.json", json.loads),
        stream=stream,
        metrics=_read_metrics(folder / "metrics.csv"),
    )


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its content is damaged"
        raise InputError(
            f"cannot read {path} of a run ({reason}): repeat the run or leave its folder out"
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"cannot read {path} of a run (no mapping): repeat the run or leave its folder out"
        )
    return content


def _read_metrics(path: Path) -> Series:
    series: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) != _HEADER:
                raise InputError(
                    f"{path} does not begin with {','.join(_HEADER)}: repeat the run or leave its"
                    " folder out"
                )
            for samples, metric, scope, value in rows:
                series[metric][scope].append((int(samples), float(value)))
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror}): repeat the run or leave its folder out"
        ) from error
    except ValueError as error:
        raise InputError(
            f"cannot read line {rows.line_num} of {path}: repeat the run or leave its folder out"
        ) from error
    return series
