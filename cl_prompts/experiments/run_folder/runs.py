"""Run folders read back: which there are, and what is in them."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.checksums import check_sums
from cl_prompts.experiments.run_folder.metrics_file import METRICS_FILE, METRICS_HEADER

Status = Literal["finished", "running", "interrupted", "failed"]
_KEYS = (
    "status",
    "strategy",
    "seed",
    "stream_seed",
    "recipe",
    "dataset",
    "scenario",
    "backbone",
    "n_tasks",
    "n_classes",
)
_FINISHED_KEYS = ("results", "task_ends", "samples", "command", "trainable_parameters")
_REMEDY = "repeat the run or leave its folder out"
Series = Mapping[str, Mapping[str, list[tuple[int, float]]]]


@dataclass(frozen=True)
class Run:
    """One run folder; only the summary of a run that is not finished, whose other files may be
    half written.

    Attributes:
        folder: of the run.
        summary, config, environment, stream: contents of its files.
        metrics: ``metrics[metric][scope]`` lists (samples seen, value) in the order written.
    """

    folder: Path
    summary: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    stream: Mapping[str, Any] = field(default_factory=dict)
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


def title_of(measure: str) -> str:
    """Name of a measure at the beginning of a sentence: "Accuracy", but "mAP"."""
    return "mAP" if measure == "mAP" else measure.capitalize()


def collect(paths: Iterable[Path | str]) -> list[Run]:
    """All runs in ``paths``, sorted by recipe, strategy, seed and folder.

    Args:
        paths: run folders, or any folders above some.

    Raises:
        InputError: a path does not exist, there is no run below it, a run folder lacks files or
            cannot be read, or further run folders lie inside a run folder.
    """
    found: dict[Path, Run] = {}
    for path in map(Path, paths):
        for folder in _run_folders(path):
            if folder.resolve() not in found:
                found[folder.resolve()] = _read_run(folder)
    if not found:
        raise InputError(
            "no run folder was named: name run folders, or a folder above them such as runs/"
        )
    return sorted(found.values(), key=_order)


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
        for above in folder.parents:
            if above in folders:
                raise InputError(
                    f"{above} is a run folder and holds another one, {folder}: move one of them"
                    " away"
                )
    return folders


def _read_run(folder: Path) -> Run:
    file = folder / "summary.json"
    summary = _read(file, json.loads)
    missing = [key for key in _KEYS if key not in summary]
    if not missing and summary["status"] == "finished":
        missing = [key for key in _FINISHED_KEYS if key not in summary]
    if missing:
        raise InputError(f"{file} is not the summary of a run: it lacks {', '.join(missing)}")
    if summary["status"] not in get_args(Status):
        raise InputError(
            f"{file} has the status {summary['status']!r}: known are {', '.join(get_args(Status))}"
        )
    # Other files of a run that is not finished may be about to change.
    if summary["status"] != "finished":
        return Run(folder, summary)
    check_sums(folder)
    stream = _read(folder / "stream.json", json.loads)
    expected = [summary["n_classes"]] * summary["n_tasks"]
    n_ends = 1 if summary.get("whole_stream") else summary["n_tasks"]
    fits = [len(row) for row in stream.get("counts", ())] == expected
    if not fits or len(summary["task_ends"]) != n_ends:
        raise InputError(
            f"{folder} mixes two runs: its stream.json and summary.json differ in tasks or classes"
        )
    return Run(
        folder,
        summary,
        config=_read(folder / "config.yaml", yaml.safe_load),
        environment=_read(folder / "environment.json", json.loads),
        stream=stream,
        metrics=_read_metrics(folder / METRICS_FILE),
    )


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its content is damaged"
        raise InputError(f"cannot read {path} of a run ({reason}): {_REMEDY}") from error
    if not isinstance(content, dict):
        raise InputError(f"cannot read {path} of a run (no mapping): {_REMEDY}")
    return content


def _read_metrics(path: Path) -> Series:
    series: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) != METRICS_HEADER:
                raise InputError(
                    f"{path} does not begin with {','.join(METRICS_HEADER)}: {_REMEDY}"
                )
            for samples, metric, scope, value in rows:
                series[metric][scope].append((int(samples), float(value)))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): {_REMEDY}") from error
    except ValueError as error:
        raise InputError(f"cannot read line {rows.line_num} of {path}: {_REMEDY}") from error
    return series
