"""Record the runs of a command, so that missing ones can be made later."""

import itertools
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cl_prompts.errors import InputError, first_of
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder import files
from cl_prompts.user_code import Trust, label_of

State = Literal["finished", "unfinished", "missing"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a command.

    Attributes:
        folder: its run folder, which may not exist yet.
        settings: settings of the run.
        command: command line.
    """

    folder: Path
    settings: RunConfig
    command: str = ""

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
    status = files.read_json(folder / "summary.json").get("status")
    return "finished" if status == "finished" else "unfinished"


def settings_of(folder: Path, trust_code: Trust = False) -> RunConfig:
    """Return the settings in the ``config.yaml`` of a folder.

    Raises:
        InputError: the file is damaged, or names untrusted code or weights that would be
            downloaded.
    """
    file = folder / "config.yaml"
    return _settings_in(file, files.read_text(file), trust_code)


def _settings_in(file: Path, text: str, trust_code: Trust) -> RunConfig:
    """Read the ``config.yaml`` of a run folder or plan; nothing is downloaded."""
    from cl_prompts.backbones.weights import check_at_hand  # loads PyTorch

    try:
        settings = RunConfig.from_yaml(text, trust_code=trust_code)
        check_at_hand(settings.backbone["name"], settings.backbone["weights"])
    except InputError as error:
        raise InputError(f"{file} cannot be used: {error}") from error
    if "download" in settings.dataset:
        settings.dataset["download"] = False
    return settings


def new_path(out: Path, settings: RunConfig) -> Path:
    """Make the folder ``out/<recipe>/<strategy>/<seed>-<time>``, or one with ``-2`` and so on."""
    above = out / settings.recipe / label_of(settings.strategy)
    name = f"{settings.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = above / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError("numbers do not end")


def write_plan(folder: Path, runs: Sequence[PlannedRun]) -> Path:
    """Write the runs of a command, in execution order, into a folder above them."""
    # Relative: a plan can be moved together with its runs.
    settings = {os.path.relpath(run.folder, folder): run.settings.to_yaml() for run in runs}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"plan-{time.time_ns()}.json"
    files.write_json(path, {"command": runs[0].command, "runs": settings})
    return path


def unfinished_plan(folder: Path, trust_code: bool = False) -> list[PlannedRun]:
    """Return the runs of the last unfinished plan in a folder.

    Args:
        folder: of the plans.
        trust_code: whether code named in their settings may be imported.

    Raises:
        InputError: there is no such plan, or it is damaged, or names untrusted code or weights
            that would be downloaded.
    """
    # Their names are the times when they were written.
    plans = sorted(folder.glob("plan-*.json"), reverse=True)
    for file in plans:
        found = files.read_json(file)
        runs = [
            PlannedRun(folder / place, _settings_in(file, text, trust_code), found["command"])
            for place, text in found["runs"].items()
        ]
        if any(run.state != "finished" for run in runs):
            return runs
    inner = sorted(file.parent for file in folder.rglob("config.yaml"))
    if left := [run for run in inner if state_of(run) == "unfinished"]:
        raise InputError(f"{folder} is not a run: resume one of {first_of(left, 3)}")
    finished = f"all runs in {folder} are finished: there is nothing to resume"
    none = f"{folder} contains neither a run nor a plan"
    raise InputError(finished if inner or plans else none)


def describe(runs: Sequence[PlannedRun]) -> str:
    """Return the numbers of finished, unfinished and missing runs as a phrase."""
    counts = Counter(run.state for run in runs)
    return ", ".join(f"{counts[state]} {state}" for state in get_args(State) if counts[state])
