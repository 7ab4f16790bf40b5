"""Record the runs of a command, so that missing ones can be made later."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
        folder: its run folder, which may not exist yet.
        settings: settings of the run.
    """

    folder: Path
    settings: RunConfig

    @property
    def state(self) -> State:
        """Whether the run is finished, unfinished or missing."""
        return state_of(self.folder)


def state_of(folder: Path) -> State:
    """Return whether the run of a folder is finished, unfinished or missing."""
    if not (folder / "config.yaml").is_file():
        return "missing"
    if not (folder / "summary.json").is_file():
        return "unfinished"
    status = files.FolderFiles(folder).read_json("summary.json").get("status")
    return "finished" if status == "finished" else "unfinished"


def new_path(out: Path, settings: RunConfig) -> Path:
    """Make the folder ``out/<recipe>/<strategy>/<seed>-<time>``, or one with ``-2`` and so on.

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


@contextmanager
def temporary_folder(out: Path, settings: RunConfig) -> Iterator[Path]:
    """Yield a temporary folder for a run, which is removed at an error, and then those of killed
    processes."""
    from filelock import FileLock, Timeout  # every command imports this module

    above = out / settings.recipe / label_of(settings.strategy)
    for lock in above.glob(f"{files.TEMPORARY}/.lock"):
        # A living process holds the lock.
        with suppress(Timeout), FileLock(lock, timeout=0):
            shutil.rmtree(lock.parent)
    temporary = above / f".{secrets.token_hex(4)}.tmp"
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@dataclass(frozen=True)
class Plan:
    """All runs of one command.

    Attributes:
        command: command line.
        runs: in execution order.
    """

    command: str
    runs: tuple[PlannedRun, ...]

    def write(self, folder: Path) -> Path:
        """Write ``plan-1.json``, ``plan-2.json`` or so on into a folder above the runs."""
        runs = [
            # Relative: a plan can be moved together with its runs.
            {"folder": os.path.relpath(run.folder, folder), "settings": run.settings.to_yaml()}
            for run in self.runs
        ]
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            path = folder / f"plan-{number}.json"
            with suppress(FileExistsError):
                path.touch(exist_ok=False)  # reserves the name
                files.FolderFiles(folder).write_json(
                    path.name, {"command": self.command, "runs": runs}
                )
                return path
        raise AssertionError("numbers do not end")

    @classmethod
    def read(cls, path: Path, trust_code: bool = False) -> Plan:
        """Read a plan.

        Args:
            path: file of the plan.
            trust_code: whether code named in its settings may be imported.

        Raises:
            InputError: the file is damaged, a run lies outside of its folder, or the plan names
                untrusted code or weights that would be downloaded.
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
    """Check that a folder contains a run to resume.

    Raises:
        InputError: it does not.
    """
    if not (folder / "config.yaml").is_file():
        raise InputError(
            f"{folder} has no config.yaml: it is not a run folder, or its run never started"
        )


def unfinished_plan(folder: Path, trust_code: bool = False) -> Plan:
    """Return the last unfinished plan in a folder; arguments as in :meth:`Plan.read`.

    Raises:
        InputError: there is no plan, the plan cannot be used, or all runs are finished.
    """
    # A command that stopped before its runs started leaves an empty file.
    plans = [file for file in folder.glob("plan-*.json") if file.stat().st_size]
    if not plans:
        raise InputError(f"{folder} contains neither a run nor a plan")
    for file in sorted(plans, key=_number, reverse=True):
        plan = Plan.read(file, trust_code)
        if any(run.state != "finished" for run in plan.runs):
            return plan
    raise InputError(f"all planned runs in {folder} are finished: there is nothing to resume")


def describe(runs: Sequence[PlannedRun]) -> str:
    """Return the numbers of finished, unfinished and missing runs as a phrase."""
    states = [run.state for run in runs]
    counts = {state: states.count(state) for state in ("finished", "unfinished", "missing")}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("plan-")
    return int(digits) if digits.isdigit() else 0
