"""Run folders read back: which there are, and what is in them."""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.values import yaml_of
from cl_prompts.experiments.run_folder.checksums import (
    BEFORE_FILE,
    CONFIDENCE_FILE,
    check_sums,
)
from cl_prompts.experiments.run_folder.metrics_file import METRICS_FILE, METRICS_HEADER
from cl_prompts.reading import TABLE, TEXT, conform, content, json_of, opened

Status = Literal["finished", "running", "interrupted", "failed"]
#: of ``summary.json``: what settings name, by content
SOURCES = {"files?": ({str: str}, None), "code?": ({str: {str: str}}, None)}
#: of ``summary.json``
SUMMARY = {
    "status": str,
    "strategy": str,
    "seed": int,
    "stream_seed": int,
    "recipe": str,
    "dataset": str,
    "scenario": str,
    "backbone": str,
    "n_tasks": int,
    "n_classes": int,
    "weights?": (str, None),
    "image_size?": (int, None),
    "multi_label?": (bool, None),
    "whole_stream?": (bool, None),
    "class_names?": ([str], None),
    "domain_names?": [str],
    "skipped_images?": [str],
    "unread_files?": {str: int},
    "images_per_second?": (float, None),
    "peak_device_memory_mb?": (float, None),
    "forward_passes?": ({str: (float, None)}, None),
    "error?": (str, None),
    "own_scores?": [str],
    "data?": (
        {"classes": str, "training": {str: object}, "test": {str: object}, "seed?": int},
        None,
    ),
    **SOURCES,
}
#: of that of a finished run, in addition
FINISHED = {
    "results": {str: (float, None)},
    "task_ends": [int],
    "samples": int,
    "command": str,
    "trainable_parameters": int,
}
_STREAM = {
    "counts": [[int]],
    "tasks?": [[int]],
    "disjoint_classes?": [[int]],
    "blurry_classes?": [[int]],
    "anchors?": ({"disjoint_classes": [[int]], "blurry_classes": [[int]]}, None),
}
_CONFIG = {
    "options?": ({"train_mb_size?": (int, None)}, None),
    "parent?": {"run": str, "sizes": [[int]], "settings?": (str, None)},
    "evaluation?": {"batch_size?": (int, None)},
}
_ENVIRONMENT = {"cl_prompts?": str, "time?": str, "resumed_with?": ([{}], None)}
_BEFORE = {
    **{"run": str, "samples_seen": int, "score": float, "by_class": [(float, None)]},
    "by_domain?": {str: float},
}
_CONFIDENCE = {"log_odds": [float]}
_REMEDY = "repeat the run or leave its folder out"
Series = Mapping[str, Mapping[str, list[tuple[int, float]]]]


#: form in which a run folder says when it was made
TIME = "%Y-%m-%d %H:%M:%S %z"


@dataclass(frozen=True)
class Run:
    """One run folder; only the summary of a run that is not finished, whose other files may be
    half written.

    Attributes:
        folder: of the run.
        summary, config, environment, stream: contents of its files.
        before: of a run that learned on, what its parent's model scored; else empty.
        metrics: ``metrics[metric][scope]`` lists (samples seen, value) in the order written.
    """

    folder: Path
    summary: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    stream: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    metrics: Series = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.summary["status"] == "finished")

    @property
    def whole_stream(self) -> bool:
        """Whether its strategy saw all data at once, as ``joint`` does."""
        return bool(self.summary.get("whole_stream"))

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return bool(self.summary.get("multi_label"))

    @property
    def measure(self) -> str:
        """Measure of its evaluations, as ``metrics.csv`` names it."""
        return "map" if self.multi_label else "accuracy"

    @property
    def unit(self) -> str:
        """Unit of its stream."""
        return "labels" if self.multi_label else "samples"

    @property
    def seeds(self) -> str:
        """The seed, and that of the stream where it differs."""
        seed = self.summary["seed"]
        stream = self.summary["stream_seed"]
        return f"{seed}" if seed == stream else f"{seed} (stream {stream})"


def begun_at(environment: Mapping[str, Any]) -> float:
    """When a run was made, in seconds since 1970 wherever that was; before all others where
    ``environment.json`` does not say.

    >>> begun_at({"time": "1970-01-01 09:00:01 +0900"}), begun_at({})
    (1.0, -inf)
    """
    try:
        return datetime.strptime(str(environment.get("time")), TIME).timestamp()
    except ValueError:
        return -math.inf


def title_of(measure: str) -> str:
    """Name of a measure at the beginning of a sentence: "Accuracy", but "mAP"."""
    return "mAP" if measure == "mAP" else measure.capitalize()


def collect(paths: Iterable[Path | str]) -> list[Run]:
    """All runs in ``paths``, each once, in the order of the paths; those below one path sorted by
    recipe, strategy, seed and folder.

    Raises:
        InputError: a path does not exist, there is no run below it, a run folder lacks files or
            cannot be read, or further run folders lie inside a run folder.
    """
    found: dict[Path, Run] = {}
    for path in map(Path, paths):
        new = [folder for folder in _run_folders(path) if folder.resolve() not in found]
        for run in sorted(map(_read_run, new), key=_order):
            found[run.folder.resolve()] = run
    if not found:
        raise InputError(
            "no run folder was named: name run folders, or a folder above them such as runs/"
        )
    return list(found.values())


def unfinished(paths: Iterable[Path]) -> list[Path]:
    """Folders of the runs that are not finished, of which no other file is read; see
    :func:`collect`."""
    folders = {folder.resolve(): folder for path in paths for folder in _run_folders(path)}
    summaries = [(f, _read(f / "summary.json", json_of, SUMMARY)) for f in folders.values()]
    return [folder for folder, summary in summaries if summary["status"] != "finished"]


def check_folders(paths: Iterable[Path]) -> None:
    """Refuse paths at which no run is, without reading any; see :func:`collect`."""
    for path in paths:
        _run_folders(path)


def _order(run: Run) -> tuple[str, str, int, str]:
    summary = run.summary
    return str(summary["recipe"]), str(summary["strategy"]), summary["seed"], str(run.folder)


def _run_folders(path: Path) -> list[Path]:
    """The run folders at or below ``path``."""
    if not path.is_dir():
        raise InputError(
            f"there is no folder {path}: name run folders, or a folder above them such as runs/"
        )
    folders = sorted(file.parent for file in path.rglob("summary.json"))
    for file in path.rglob(METRICS_FILE):
        if file.parent not in folders:
            raise InputError(
                f"{file.parent} is no complete run folder: it holds {METRICS_FILE} but no"
                " summary.json"
            )
    if not folders:
        raise InputError(f"there is no run below {path}: no folder in it holds a summary.json")
    for folder in folders:
        # A run that was copied into another one would count for both.
        for above in folder.parents:
            if above in folders:
                raise InputError(
                    f"{above} is a run folder and holds another one, {folder}: move one of them"
                    " away"
                )
    return folders


def _read_run(folder: Path) -> Run:
    file = folder / "summary.json"
    summary = _read(file, json_of, SUMMARY)
    if summary["status"] not in get_args(Status):
        raise InputError(
            f"{file} has the status {shown(summary['status'])}: known are"
            f" {', '.join(get_args(Status))}"
        )
    # Other files of a run that is not finished may be about to change.
    if summary["status"] != "finished":
        return Run(folder, summary)
    _conform(file, summary, FINISHED)
    environment = _read(folder / "environment.json", json_of, _ENVIRONMENT)
    # Before anything else is read: what follows may trust the files to belong together.
    check_sums(folder, may_lack_them=environment.get("format") is None)
    stream = _read(folder / "stream.json", json_of, _STREAM)
    before = folder / BEFORE_FILE
    _check_one_run(folder, summary, stream)
    config = _read(folder / "config.yaml", yaml_of, _CONFIG)
    if any(len(size) != 2 for size in config.get("parent", {}).get("sizes", ())):
        raise InputError(f"parent.sizes in {folder / 'config.yaml'} are no pairs: {_REMEDY}")
    return Run(
        folder,
        summary,
        config=config,
        environment=environment,
        before=_read(before, json_of, _BEFORE) if before.is_file() else {},
        stream=stream,
        metrics=_read_metrics(folder / METRICS_FILE),
    )


def _check_one_run(folder: Path, summary: Mapping[str, Any], stream: Mapping[str, Any]) -> None:
    """Refuse a summary and a stream that differ in tasks or classes."""
    counts = stream["counts"]
    n_tasks, n_classes = summary["n_tasks"], summary["n_classes"]
    fits = len(counts) == n_tasks and all(len(row) == n_classes for row in counts)
    n_ends = 1 if summary.get("whole_stream") else n_tasks
    if not fits or len(summary["task_ends"]) != n_ends:
        raise InputError(
            f"{folder} mixes two runs: its stream.json and summary.json differ in tasks or classes"
        )
    kinds = [stream, stream.get("anchors") or {}]
    classes = {
        c
        for kind in kinds
        for name in ("disjoint_classes", "blurry_classes")
        for task in kind.get(name) or ()
        for c in task
    }
    names = summary.get("class_names")
    if not classes <= set(range(n_classes)) or (names is not None and len(names) != n_classes):
        raise InputError(f"{folder} has {n_classes} classes, and names others: {_REMEDY}")
    if len(summary.get("domain_names", ())) not in (0, n_tasks):
        raise InputError(f"{folder} has {n_tasks} tasks, and names other domains: {_REMEDY}")


def held_out_confidence(folder: Path) -> list[float]:
    """Confidence of a finished run's model in each test image of a class that it knows, ascending.

    Raises:
        InputError: the run has kept none, or its file was changed or damaged.
    """
    check_sums(folder, [CONFIDENCE_FILE])
    file = folder / CONFIDENCE_FILE
    if not file.is_file():
        raise InputError(
            f"{folder} holds no {CONFIDENCE_FILE}, as runs of earlier versions do not: repeat the"
            " run to find unknown classes with it"
        )
    return sorted(_read(file, json_of, _CONFIDENCE)["log_odds"])


def _read(path: Path, parse: Callable[[str], Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = parse(content(path, TEXT).decode())
    except OSError as error:
        raise InputError(f"cannot read {path} of a run ({error.strerror}): {_REMEDY}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"cannot read {path} of a run (its content is damaged): {_REMEDY}"
        ) from error
    return _conform(path, found, schema)


def _conform(path: Path, found: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    try:
        conform(found, schema)
    except ValueError as error:
        raise InputError(f"cannot read {path} of a run ({error}): {_REMEDY}") from error
    return dict(found)


def _read_metrics(path: Path) -> Series:
    series: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    try:
        with TextIOWrapper(opened(path, TABLE), encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) != METRICS_HEADER:
                raise InputError(
                    f"{path} does not begin with {','.join(METRICS_HEADER)}: {_REMEDY}"
                )
            for samples, metric, scope, value in rows:
                _check_scope(metric, scope)
                series[metric][scope].append((int(samples), float(value)))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): {_REMEDY}") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"cannot read line {rows.line_num} of {path}: {_REMEDY}") from error
    for scopes in series.values():
        _drop_replaced(scopes)
    return series


def _drop_replaced(scopes: dict[str, list[tuple[int, float]]]) -> None:
    """Drop what the last of several evaluations at one place says nothing of any more: values of
    classes that were removed there, and of their tasks."""
    evaluations = Counter(place for place, _ in scopes.get("seen", ()))
    again = {place: n for place, n in evaluations.items() if n > 1}
    if not again:
        return
    found = {scope: Counter(place for place, _ in rows) for scope, rows in scopes.items()}
    # As many rows as evaluations, unless the last one was not written in detail.
    whole = {at for rows in found.values() for at, n in rows.items() if n == again.get(at)}
    for scope, rows in found.items():
        gone = {place for place, n in rows.items() if place in whole and n < again[place]}
        if gone:
            scopes[scope] = [row for row in scopes[scope] if row[0] not in gone]


def _check_scope(metric: str, scope: str) -> None:
    """Raise ``ValueError`` where a class, task or prompt has no number."""
    kind, colon, number = scope.partition(":")
    if (colon and kind in ("class", "task", "prompt")) or metric == "prompt_usage":
        int(number)
