"""Plans: the runs that a command was to make, so that missing ones can be made later."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder import files
from cl_prompts.user_code import label_of

State = Literal["finished", "unfinished", "missing"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        folder: where it is, or is to be.
        settings: of the run.
    """

    folder: Path
    settings: RunConfig

    @property
    def state(self) -> State:
        """Whether the run is finished, was begun, or never was."""
        return state_of(self.folder)


def state_of(folder: Path) -> State:
    """Whether the run of a folder is finished, was begun, or never was."""
    if not (folder / "config.yaml").is_file():
        return "missing"
    if not (folder / "summary.json").is_file():
        return "unfinished"
    status = files.FolderFiles(folder).read_json("summary.json").get("status")
    return "finished" if status == "finished" else "unfinished"


def new_path(out: Path, settings: RunConfig) -> Path:
    """Make the empty folder ``out/<recipe>/<strategy>/<seed>-<time>``, with ``-2`` and so on if it
    is taken, also by a process that starts at the same moment.

    Raises:
        RunError: the folder cannot be made.
    """
    above = out / settings.recipe / label_of(settings.strategy)
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
        runs = [
            # Relative, so that a plan can be moved together with its runs.
            {"folder": os.path.relpath(run.folder, folder), "settings": run.settings.to_yaml()}
            for run in self.runs
        ]
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            path = folder / f"plan-{number}.json"
            with suppress(FileExistsError):
                path.touch(exist_ok=False)  # the name is ours
                files.FolderFiles(folder).write_json(
                    path.name, {"command": self.command, "runs": runs}
                )
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
        found = files.FolderFiles(path.parent).read_json(path.name)
        runs = []
        for run in found["runs"]:
            folder = path.parent / run["folder"]
            if not folder.resolve().is_relative_to(path.parent.resolve()):
                raise InputError(f"{path} cannot be used: {folder} lies outside of its folder")
            try:
                settings = RunConfig.of_folder(run["settings"], trust_code=trust_code)
            except InputError as error:
                raise InputError(f"{path} cannot be used: {error}") from error
            runs.append(PlannedRun(folder, settings))
        return cls(found["command"], tuple(runs))


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
    """Return the last plan in a folder that is not finished; arguments as :meth:`Plan.read`.

    Raises:
        InputError: there is no plan, it cannot be used, or nothing is left to do.
    """
    # An empty file is of a command that ended before it began its runs.
    plans = [file for file in folder.glob("plan-*.json") if file.stat().st_size]
    if not plans:
        raise InputError(f"{folder} is neither a run folder nor the folder of a plan")
    for file in sorted(plans, key=_number, reverse=True):
        plan = Plan.read(file, trust_code)
        if any(run.state != "finished" for run in plan.runs):
            return plan
    raise InputError(f"all runs of the plans in {folder} are finished: there is nothing to resume")


def describe(runs: Sequence[PlannedRun]) -> str:
    """Numbers of finished, unfinished and missing runs, in words."""
    states = [run.state for run in runs]
    counts = {state: states.count(state) for state in ("finished", "unfinished", "missing")}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("plan-")
    return int(digits) if digits.isdigit() else 0
