"""Plans: the runs that a command was to make, so that missing ones can be made later."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cl_prompts.checks import is_one_name, shown
from cl_prompts.errors import InputError, short
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.run_folder import files
from cl_prompts.reading import TEXT, conform, content, doubled, json_of

FORMAT = "cl-prompts plan 1"
_PLAN = {
    "format": str,
    "command": str,
    "sha256?": str,
    "runs": [{"folder": str, "settings": str}],
}
State = Literal["finished", "unfinished", "missing"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        folder: where it is, or is to be.
        settings: of the run.
    """

    folder: Path
    settings: Settings

    @property
    def state(self) -> State:
        """Whether the run is finished, was begun, or never was."""
        return state_of(self.folder)


def state_of(folder: Path) -> State:
    """Whether the run of a folder is finished, was begun, or never was."""
    if not (folder / "config.yaml").is_file():
        return "missing"
    summary = folder / "summary.json"
    if not summary.is_file():
        return "unfinished"
    try:
        finished = files.FolderFiles(folder).read_json(summary.name).get("status") == "finished"
    except InputError:
        finished = False
    return "finished" if finished else "unfinished"


def new_path(out: Path, settings: Settings) -> Path:
    """Make the empty folder ``out/<recipe>/<strategy>/<seed>-<time>``, with ``-2`` and so on if it
    is taken, also by a process that starts at the same moment.

    Raises:
        InputError: the folder cannot be made, or would not lie there.
        RunError: the disk is full or read-only.
    """
    label = label_of(settings.strategy)
    for name in (settings.recipe, label):
        if not is_one_name(name):
            raise InputError(
                f"{shown(name)} would be the name of a run's folder, and holds folders"
            )
    above = out / settings.recipe / label
    name = f"{settings.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = above / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            files.make_folder(path)
            return path
    raise AssertionError("numbers do not end")


@dataclass(frozen=True)
class Plan:
    """All runs of one command.

    Attributes:
        command: that command.
        runs: in the order in which they are made.
    """

    command: str
    runs: tuple[PlannedRun, ...]

    def write(self, folder: Path) -> Path:
        """Write the plan as ``plan-1.json``, ``plan-2.json`` ... into a folder above its runs."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "command": self.command,
            "runs": [
                {
                    # Relative, so that a plan can be moved together with its runs.
                    "folder": os.path.relpath(run.folder, folder),
                    "settings": run.settings.to_yaml(),
                }
                for run in self.runs
            ],
        }
        folder.mkdir(parents=True, exist_ok=True)
        content["sha256"] = files.digest_of_json(content)
        for number in itertools.count(1):
            path = folder / f"plan-{number}.json"
            with suppress(FileExistsError):
                path.touch(exist_ok=False)  # the name is ours
                files.replace(path, [files.json_text(content).encode()])
                return path
        raise AssertionError("numbers do not end")

    @classmethod
    def read(cls, path: Path, trust_code: bool = False) -> Plan:
        """Read a plan.

        Args:
            path: of the file.
            trust_code: whether dotted names in its settings may be imported.

        Raises:
            InputError: the file is damaged, a run of it lies outside of its folder, or it names
                code that may not be imported or weights that would be fetched.
        """
        found, folders = _read(path)
        try:
            settings = [
                Settings.of_folder(run["settings"], trust_code=trust_code) for run in found["runs"]
            ]
        except InputError as error:
            raise InputError(f"{path} cannot be used: {error}") from error
        except ValueError as error:
            raise InputError(f"{path} is no plan that this version can read ({error})") from error
        return cls(found["command"], tuple(map(PlannedRun, folders, settings)))


def _read(path: Path) -> tuple[dict[str, Any], list[Path]]:
    """Content of a plan, and the folders of its runs."""
    try:
        found = json_of(content(path, TEXT))
        conform(found, _PLAN)
        if found["format"] != FORMAT:
            raise ValueError(found["format"])
        # Taken out first, since the digest is of what is left.
        if found.pop("sha256", None) not in (None, files.digest_of_json(found)):
            raise ValueError("its checksum differs")
        folders = [_below(path.parent, run["folder"]) for run in found["runs"]]
        twice = doubled(folder.resolve() for folder in folders)
        if twice is not None:
            raise ValueError(f"two of its runs lie in {short(twice)}")
        return found, folders
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is no plan that this version can read ({error})") from error


def planned_with(folders: Iterable[Path]) -> set[Path]:
    """Folders of all runs that stand in one plan with one of these; no settings are read.

    Raises:
        InputError: a plan in a folder above them is damaged.
    """
    known = set(folders)
    # Runs are in <recipe>/<strategy>/<seed>-<time>, and plans in <recipe> or above it.
    above = {parent for folder in known for parent in list(folder.parents)[:3]}
    found: set[Path] = set()
    for file in sorted(file for parent in above for file in _plans(parent)):
        planned = {folder.resolve() for folder in _read(file)[1]}
        found |= planned if planned & known else set()
    return found


def _plans(folder: Path) -> list[Path]:
    # An empty one is of a command that ended before it began its runs.
    return [file for file in folder.glob("plan-*.json") if file.stat().st_size]


def check_begun(folder: Path) -> None:
    """Refuse to resume the folder of a run that was not begun.

    Raises:
        InputError: there is nothing to resume.
    """
    if not (folder / "config.yaml").is_file():
        raise InputError(
            f"{folder} is not a run folder, or its run had not begun: it holds no config.yaml,"
            " so there is nothing to resume"
        )


def unfinished_plan(folder: Path, trust_code: bool = False) -> Plan:
    """The last plan in a folder that is not finished; arguments as :meth:`Plan.read`.

    Raises:
        InputError: there is no plan, it cannot be used, or nothing is left to do.
    """
    plans = _plans(folder)
    if not plans:
        raise InputError(f"{folder} is neither a run folder nor the folder of a plan")
    for file in sorted(plans, key=_number, reverse=True):
        plan = Plan.read(file, trust_code)
        for run in plan.runs:
            run.settings.check_sending(trust_code)
        if any(run.state != "finished" for run in plan.runs):
            return plan
    raise InputError(f"all runs of the plans in {folder} are finished: there is nothing to resume")


def describe(runs: Sequence[PlannedRun]) -> str:
    """Numbers of finished, unfinished and missing runs, in words."""
    states = [run.state for run in runs]
    counts = {state: states.count(state) for state in ("finished", "unfinished", "missing")}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n)


def _below(above: Path, folder: str) -> Path:
    """The folder of a run, which lies below that of its plan, links followed."""
    found = above / folder
    inside = found.resolve().is_relative_to(above.resolve())
    if not inside or ".." in Path(folder).parts or Path(folder).is_absolute():
        raise ValueError(f"its run {shown(folder)} lies outside of its folder")
    return found


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("plan-")
    return int(digits) if digits.isdigit() else 0
