"""Sweeps: every combination of settings, where one run that fails stops no other."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from cl_prompts import __version__
from cl_prompts.backbones.fingerprint import weights_hash
from cl_prompts.errors import InputError, RunError, one_sentence, say
from cl_prompts.experiments.recipes.grid import differing_settings, essence, labels_of_runs
from cl_prompts.experiments.recipes.names import is_dotted
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.recipes.values import in_one_line, yaml_of
from cl_prompts.experiments.run_folder.checksums import check_sums
from cl_prompts.experiments.run_folder.files import FolderFiles
from cl_prompts.experiments.run_folder.identity import (
    IDENTITY_FILE,
    changes,
    settings_identity,
)
from cl_prompts.experiments.run_folder.plans import describe, new_path, state_of
from cl_prompts.experiments.run_folder.runs import begun_at
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.interruption import Stopped
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.sweep_launcher import Launcher
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_ray import RayLauncher
from cl_prompts.experiments.sweeps.sweep_slurm import SlurmLauncher
from cl_prompts.experiments.sweeps.sweep_worker import Job
from cl_prompts.experiments.tracking.progress import display_on, print_line
from cl_prompts.reading import TEXT, content, json_of

_HERE = Launching()


class Sweep:
    """Runs of a grid, executed or found finished.

    Args:
        settings: of all runs, no two alike.
        out: parent of the recipes' folders.
        command: as typed.
        how: where runs are executed, and how many at a time.
        console: where progress is shown.

    Attributes:
        runs: in the order of the settings.
        stopped: number of the signal that ended the sweep early, if one did.

    Raises:
        InputError: a finished run was changed since.

    >>> from cl_prompts.experiments.recipes.grid import grid
    >>> sweep = Sweep(grid("digits", ["strategy=ncm", "seed=1-2"]), Path("runs"), console=Console())
    >>> [(run.label, run.planned.state) for run in sweep.runs]
    [('ncm seed 1', 'missing'), ('ncm seed 2', 'missing')]
    """

    def __init__(
        self,
        settings: Sequence[Settings],
        out: Path,
        *,
        console: Console,
        how: Launching = _HERE,
        command: str = "",
    ) -> None:
        """Look for runs that were made already."""
        self.how = how
        self.out = out
        self.command = command
        self.console = console
        self.stopped: int | None = None
        self._builders: dict[bool, Builder] = {}
        self._data: dict[str, dict[str, Any]] = {}
        self._varied = differing_settings(settings)
        earlier, self._notes = earlier_runs(out / settings[0].recipe)
        self.runs = [
            SweptRun(number, label, run, self._usable(earlier.get(essence(asdict(run))), run))
            for number, (label, run) in enumerate(
                zip(labels_of_runs(settings), settings, strict=True), 1
            )
        ]
        for folder in self.finished:
            check_sums(folder)

    def _usable(self, folder: Path | None, settings: Settings) -> Path | None:
        """The folder of an earlier run, if it was made from the same data, weights, files and code,
        under the same marks of numbers."""
        # Without a summary it had just begun: it is compared as it is resumed.
        if folder is None or not (folder / "summary.json").is_file():
            return folder
        try:
            made = FolderFiles(folder).read_json(IDENTITY_FILE)
            status = FolderFiles(folder).read_json("summary.json").get("status")
        except InputError:
            return folder  # whoever resumes it says what is wrong
        found = [*changes(made, settings_identity(settings))]
        # What has not ended is compared as it is resumed.
        if not found and status == "finished":
            try:
                found = [*changes(made, self._measured(settings, ["data", "backbone"]))]
            except InputError as error:
                self._notes.append(
                    f"{folder} counts as made, though its data or weights cannot be compared:"
                    f" {error}"
                )
        for change in found:
            self._notes.append(f"{folder} is left alone, and its run is made again: {change}")
            return None
        return folder

    def _measured(self, settings: Settings, parts: Sequence[str]) -> dict[str, Any]:
        """Fingerprints of the data and the backbone of a run as they are now.

        Raises:
            InputError: they are not there any more.
        """
        found: dict[str, Any] = {}
        # Bad files that a run leaves out are found by opening all, and are of no fingerprint.
        skips = settings.dataset.get("on_bad_image") == "skip"
        builder = self._builders.setdefault(skips, Builder(quick=not skips))
        if "data" in parts:
            # A user's function may make other data for each seed.
            of_seed = settings.seed if is_dotted(settings.dataset["name"]) else None
            key = json.dumps([settings.dataset, settings.backbone, settings.parent, of_seed])
            if key not in self._data:
                self._data[key] = builder.data(settings).fingerprint()
            found["data"] = self._data[key]
        if "backbone" in parts:
            found["backbone"] = weights_hash(builder.backbone(settings))
        return found

    @property
    def finished(self) -> list[Path]:
        """Folders of the finished runs."""
        planned = [run.planned for run in self.runs]
        return [run.folder for run in planned if run.state == "finished"]

    @property
    def faults(self) -> list[tuple[str, str]]:
        """Label of each run that failed, and why."""
        return [(run.label, run.fault) for run in self.runs if run.fault is not None]

    @property
    def _left(self) -> list[SweptRun]:
        return [run for run in self.runs if run.planned.state != "finished"]

    def check(self) -> None:
        """Build the runs that are not finished, without executing them, and print their number.

        Raises:
            InputError: a run cannot be built.
        """
        left = [run.settings for run in self._left]
        remarks = Builder().check(left)[1] if left else []
        for remark in (*self._notes, *remarks):
            print_line(self.console, f"note: {remark}")
        counts = describe([run.planned for run in self.runs])
        print_line(self.console, f"{len(self.runs)} runs: {counts}")

    def execute(self) -> None:
        """Execute the runs that are not finished.

        A run that fails is noted, and the others go on. A run whose process was killed goes on at
        its last checkpoint in another one. SIGINT, SIGTERM and SIGHUP stop the sweep, with the
        state of each run saved.
        """
        left = self._left
        if left:
            with display_on(self.console, len(self.runs), n_ended=len(self.runs) - len(left)) as d:
                ledger = Ledger(left, d, self._begun)
                self._launcher(ledger).execute()
                self.stopped = ledger.stopped

    def conclude(self) -> None:
        """List the runs that failed.

        Raises:
            Stopped: a signal came.
            RunError: a run failed.
        """
        list_faults(self.faults)
        n = len(self.runs)
        if self.stopped is not None:
            raise stopped(n - len(self.finished), f"{n} runs", self.stopped)
        if self.faults:
            raise RunError(
                f"{len(self.faults)} of {n} runs failed; the same command tries them again"
            )

    def _launcher(self, ledger: Ledger) -> Launcher | RayLauncher | SlurmLauncher:
        if self.how.kind == "ray":
            return RayLauncher(ledger, self.how)
        if self.how.kind == "slurm":
            return SlurmLauncher(ledger, self.how, self.out)
        return Launcher(ledger, self.how.jobs or 1)

    def _begun(self, run: SweptRun) -> Job:
        """The job of a run, with a folder."""
        if run.planned.state == "missing":
            run.folder = new_path(self.out, run.settings)
        return Job(run.planned, self.command, self._varied)


def earlier_runs(above: Path) -> tuple[dict[str, Path], list[str]]:
    """Run folders of this version of the package, by the essence of their settings.

    Args:
        above: folder of a recipe; its run folders lie two levels below it.

    Returns:
        Of folders with equal settings the newest finished one, or else the newest; and a sentence
        for each folder that cannot be read.
    """
    found: dict[str, tuple[tuple[bool, float], Path]] = {}
    notes: list[str] = []
    for folder in sorted(file.parent for file in above.glob("*/*/config.yaml")):
        try:
            about = json_of(content(folder / "environment.json", TEXT))
            config = yaml_of(content(folder / "config.yaml", TEXT).decode())
            same = about["cl_prompts"] == __version__
            key = essence(config)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
            notes.append(f"{folder} is left alone, since it cannot be read ({in_one_line(error)})")
            continue
        age = (state_of(folder) == "finished", begun_at(about))
        # Of several runs of the same settings a finished one, and of these the newest.
        if same and (key not in found or age >= found[key][0]):
            found[key] = (age, folder)
    return {key: folder for key, (_, folder) in found.items()}, notes


def list_faults(faults: Iterable[tuple[str, str]]) -> None:
    """Print labels of runs that failed, and why."""
    for label, fault in faults:
        say(one_sentence(f"failed: {label}: {fault}"), sys.stderr)


def stopped(left: int, of: str, number: int) -> Stopped:
    """The error of a sweep or search that a signal stopped.

    Args:
        left: runs or trials to go.
        of: so many, such as "3 runs".
        number: of the signal.
    """
    return Stopped(f"stopped, with {left} of {of} to go; the same command goes on", number)
