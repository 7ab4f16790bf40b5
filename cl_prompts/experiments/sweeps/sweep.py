"""Sweeps: every combination of settings, where one run that fails stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from cl_prompts.experiments.recipes.grid import differing_settings, essence, labels_of_runs
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.run_folder.checksums import check_sums
from cl_prompts.experiments.run_folder.plans import describe, new_path
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.made_runs import made_runs
from cl_prompts.experiments.sweeps.sweep_launcher import Launcher
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_ray import RayLauncher
from cl_prompts.experiments.sweeps.sweep_slurm import SlurmLauncher
from cl_prompts.experiments.sweeps.sweep_worker import Job
from cl_prompts.experiments.tracking.progress import display_on

_HERE = Launching()


class Sweep:
    """Runs that are to be made, and what becomes of them.

    Args:
        settings: of all runs, no two alike.
        out: parent of the recipes' folders.
        command: what was typed.
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
        self._varied = differing_settings(settings)
        made, self._notes = made_runs(out / settings[0].recipe)
        self.runs = [
            SweptRun(number, label, run, made.get(essence(asdict(run))))
            for number, (label, run) in enumerate(
                zip(labels_of_runs(settings), settings, strict=True), 1
            )
        ]
        for folder in self.finished:
            check_sums(folder)

    @property
    def finished(self) -> list[Path]:
        """Folders of the finished runs."""
        states = [(run.folder, run.planned.state) for run in self.runs]
        return [folder for folder, state in states if folder is not None and state == "finished"]

    @property
    def failed(self) -> list[SweptRun]:
        """The runs that failed."""
        return [run for run in self.runs if run.fault is not None]

    @property
    def _left(self) -> list[SweptRun]:
        return [run for run in self.runs if run.planned.state != "finished"]

    def check(self) -> None:
        """Build what is not finished, without running it, and say how much there is to do.

        Raises:
            InputError: a run cannot be built.
        """
        left = [run.settings for run in self._left]
        remarks = Builder().check(left)[1] if left else []
        for remark in (*self._notes, *remarks):
            self.console.print(f"note: {remark}", highlight=False, soft_wrap=True, markup=False)
        counts = describe([run.planned for run in self.runs])
        self.console.print(f"{len(self.runs)} runs: {counts}", highlight=False, soft_wrap=True)

    def execute(self) -> None:
        """Execute what is not finished.

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
