"""Find and read run folders."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.values import yaml_of
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.files import BEFORE_FILE, SUMS_FILE, check_sums
from cl_prompts.experiments.run_folder.identity import IDENTITY_FILE
from cl_prompts.experiments.run_folder.plans import state_of

Series = Mapping[str, Mapping[str, list[tuple[int, float]]]]

METRICS_FILE = "metrics.csv"


@dataclass(frozen=True)
class RunRecord:
    """Content of a run folder; of an unfinished run only the summary.

    Attributes:
        folder: the run folder.
        summary, config, environment, identity, stream: contents of its files.
        before: scores of the parent's model, in a continual run; else empty.
        metrics: ``metrics[metric][scope]`` lists (samples seen, value) in the order written.
    """

    folder: Path
    summary: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    stream: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    metrics: Series = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return bool(self.summary["status"] == "finished")

    @property
    def whole_stream(self) -> bool:
        """Whether its strategy trained on the whole stream at once, like ``joint``."""
        return bool(self.summary.get("whole_stream"))

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return bool(self.summary.get("multi_label"))

    @property
    def measure(self) -> str:
        """Name of its score in ``metrics.csv``."""
        return "map" if self.multi_label else "accuracy"

    @property
    def seeds(self) -> str:
        """The seed, the stream seed if it differs, and any class order."""
        seed = self.summary["seed"]
        stream = self.summary["stream_seed"]
        text = f"{seed}" if seed == stream else f"{seed} (stream {stream})"
        return f"{text}, {self.order}" if self.order else text

    @property
    def order(self) -> str:
        """Name of its class order, such as "order 1", if that was drawn by a number."""
        drawn = self.config.get("scenario", {}).get("class_order")
        return f"order {drawn}" if isinstance(drawn, int) else ""

    @property
    def draw(self) -> tuple[int | str, ...]:
        """Key that pairs runs of different methods: seed, stream seed and class order."""
        seeds = (self.summary["seed"], self.summary["stream_seed"])
        return (*seeds, self.order) if self.order else seeds


def collect(paths: Iterable[Path | str]) -> list[RunRecord]:
    """Return all runs in ``paths``, each once, in the order of the paths; runs below one path come
    by recipe, in the order of its plans, and then by strategy, seed and folder.

    Raises:
        InputError: a path does not exist or contains no run, or a run folder is incomplete or
            cannot be read.
    """
    found: dict[Path, RunRecord] = {}
    for path in map(Path, paths):
        new = [folder for folder in _run_folders(path) if folder.resolve() not in found]
        planned = {place: n for n, place in enumerate(dict.fromkeys(_planned(path)))}
        for run in sorted(map(_read_run, new), key=partial(_order, planned)):
            found[run.folder.resolve()] = run
    if not found:
        raise InputError(
            "no run folder given: give run folders, or a folder above them such as runs/"
        )
    return list(found.values())


def unfinished(paths: Iterable[Path]) -> list[Path]:
    """Return the folders of unfinished runs in ``paths``; reads only ``summary.json``."""
    folders = {folder.resolve(): folder for path in paths for folder in _run_folders(path)}
    return [folder for folder in folders.values() if state_of(folder) != "finished"]


def _planned(path: Path) -> Iterator[str]:
    """Yield the folders of strategies in the plans at or below ``path``, the oldest first."""
    for file in sorted(path.rglob("plan-*.json"), key=lambda file: file.name):
        for place in files.read_json(file)["runs"]:
            yield str((file.parent / place).parent.resolve())


def _order(planned: Mapping[str, int], run: RunRecord) -> tuple[str, int, str, int, str]:
    summary = run.summary
    place = planned.get(str(run.folder.parent.resolve()), len(planned))
    names = str(summary["recipe"]), str(summary["strategy"])
    return names[0], place, names[1], summary["seed"], str(run.folder)


def _run_folders(path: Path) -> list[Path]:
    """Return the run folders at or below ``path``."""
    if not path.is_dir():
        raise InputError(
            f"there is no folder {path}: give run folders, or a folder above them such as runs/"
        )
    folders = sorted(file.parent for file in path.rglob("summary.json"))
    lost = {file.parent for file in path.rglob(SUMS_FILE)} - {*folders}
    for folder in sorted(lost):
        raise InputError(f"{folder} has no summary.json: restore it, or delete the folder")
    if not folders:
        raise InputError(f"there is no run below {path}: no folder in it has a summary.json")
    return folders


def _read_run(folder: Path) -> RunRecord:
    summary = files.read_json(folder / "summary.json")
    # Other files of an unfinished run may be half-written.
    if summary["status"] != "finished":
        return RunRecord(folder, summary)
    # First: the rest relies on intact files.
    check_sums(folder)
    return RunRecord(
        folder,
        summary,
        config=yaml_of(files.read_text(folder / "config.yaml")),
        environment=files.read_json(folder / "environment.json"),
        identity=files.read_json(folder / IDENTITY_FILE),
        stream=files.read_json(folder / "stream.json"),
        before=files.read_json(folder / BEFORE_FILE) if (folder / BEFORE_FILE).is_file() else {},
        metrics=read_metrics(folder / METRICS_FILE),
    )


def read_metrics(path: Path) -> Series:
    """Read ``metrics.csv``, see :class:`RunRecord`."""
    series: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)  # its header
        for samples, metric, scope, value in rows:
            series[metric][scope].append((int(samples), float(value)))
    return series
