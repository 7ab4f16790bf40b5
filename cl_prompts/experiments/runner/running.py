"""Execute the runs of a command, one after another in this process or with an executor."""

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from rich.console import Console

from cl_prompts.backbones.devices import cores, threads
from cl_prompts.errors import InputError, RunError, one_sentence
from cl_prompts.experiments.executors.launching import Job, Launching
from cl_prompts.experiments.executors.signals import stop_says
from cl_prompts.experiments.executors.submissions import Fault, job_ends
from cl_prompts.experiments.recipes.run_config import RunConfig, labels_of_runs
from cl_prompts.experiments.run_folder import plans
from cl_prompts.experiments.run_folder.files import read_json
from cl_prompts.experiments.runner.building import Resources, check_plan
from cl_prompts.experiments.runner.run import Run, takes_one_thread
from cl_prompts.experiments.runner.task_loop import complete
from cl_prompts.experiments.tracking.progress import Display, Watcher, in_words, print_line

#: runs that justify a process, which takes seconds to start
RUNS_PER_PROCESS = 4


@dataclass(frozen=True)
class RunJob(Job):
    """A run for an executor.

    Attributes:
        run: the planned run, whose folder exists.
    """

    run: plans.PlannedRun

    @property
    def finished(self) -> bool:
        """Whether the run has finished."""
        return self.run.state == "finished"

    @property
    def interrupted(self) -> bool:
        """Whether the run ended itself and saved its state."""
        with suppress(InputError):
            return bool(read_json(self.run.folder / "summary.json")["status"] == "interrupted")
        return False

    def outcome(self) -> str:
        """Return how the run finished."""
        summary = read_json(self.run.folder / "summary.json")
        a_auc = summary.get("results", {}).get("a_auc")
        score = "" if a_auc is None else f", A_AUC {100 * a_auc:.1f}"
        return f"finished after {in_words(summary['seconds'])}{score}"

    def execute(self) -> None:
        """Execute the run in a worker."""
        complete(self.run, Watcher(), _shared())


#: what the runs of one worker share
_shared = cache(Resources)


@dataclass
class Runs:
    """Runs of a command, executed unless they are finished.

    Attributes:
        runs: the planned runs.
        console: console for the progress.
        place: folder of the run, or of the plan of several.
        how: executor and number of parallel runs.
        out: parent of the folder for Slurm jobs.
        resources: backbones and image checks that runs in this process share.
        built: a single run, if it is built already.
        faults: label and error of each failed run.
    """

    runs: list[plans.PlannedRun]
    console: Console
    place: Path = Path()
    how: Launching = field(default_factory=Launching)
    out: Path = Path("runs")
    resources: Resources = field(default_factory=Resources)
    built: Run | None = None
    faults: list[tuple[str, Exception]] = field(default_factory=list)

    @property
    def finished(self) -> list[Path]:
        """Folders of the finished runs."""
        return [run.folder for run in self.runs if run.state == "finished"]

    def execute(self) -> list[Path]:
        """Execute the unfinished runs; failed ones do not stop the others.

        Returns:
            the folders of all runs.

        Raises:
            Interrupted: by a signal; each run has saved its state.
        """
        try:
            with stop_says(self.continuation), Display(self.console, len(self.runs)) as display:
                for job, fault in self.ends(display):
                    if fault is not None:
                        self.faults.append((job.label, fault))
        finally:
            for run in self.runs:
                if run.state == "missing":
                    with suppress(OSError):
                        run.folder.rmdir()  # fails unless it is empty
        return [run.folder for run in self.runs]

    def ends(self, display: Display) -> Iterator[tuple[Any, Fault]]:
        """Execute the unfinished runs; yield each when it ends, with its error or None.

        Raises:
            Interrupted: a signal came; the state of every run is saved.
        """
        jobs, how = jobs_of(self.runs), self.how
        if jobs and (how.kind != "local" or (how.jobs or 1) > 1):
            device, threads = self.runs[0].settings.device, torch.get_num_threads()
            yield from job_ends(jobs, how, display, device=device, out=self.out, threads=threads)
            return
        for job in jobs:
            fault: Fault = None
            end = "stopped"
            watcher = display.begin(job.number, job.label)
            try:
                complete(job.run, watcher, self.resources, self.built)
                end = job.outcome()
            except Exception as error:
                fault, end = error, "failed"
            finally:
                display.end(job.number, end)
            yield job, fault

    def conclude(self) -> None:
        """Raise the error of a single failed run; of several runs, list the failed ones and raise
        ``RunError``."""
        if len(self.runs) == 1:
            for _, fault in self.faults:
                raise fault
        list_faults(self.faults)
        if self.faults:
            failed = f"{len(self.faults)} of {len(self.runs)} runs failed"
            raise RunError(f"{failed}. To retry them: {self.retry}")

    @property
    def retry(self) -> str:
        """The command that finishes the runs."""
        trust = " --trust-code" if any(run.settings.user_code() for run in self.runs) else ""
        return f"cl-prompts run --resume {quote(str(self.place))}{trust}"

    def continuation(self) -> str:
        """Return how to continue after a stop."""
        states = {run.state for run in self.runs}
        if states == {"finished"}:
            return "stopped after the last run"
        if len(self.runs) == 1 and states == {"missing"}:
            return "stopped before the run was begun"
        return f"stopped; continue with: {self.retry}"


def new_runs(
    plan: Sequence[RunConfig], *, out: Path, console: Console, command: str, jobs: int | None = None
) -> Runs:
    """Check runs and make their folders.

    The plan is written above the folders, so that :func:`resumed` can finish it.

    Args:
        plan: settings of the runs.
        out: parent of the recipes' folders.
        console: console for the progress.
        command: command line.
        jobs: parallel runs; None chooses, see :func:`processes`.

    Raises:
        InputError: a run cannot be built.
    """
    resources = Resources()
    # Before the first run trains: a mistake in the last one must show now, not tomorrow.
    with threads(one=all(map(takes_one_thread, plan))):
        last, warnings = check_plan(plan, resources)
    for warning in warnings:
        print_line(console, f"note: {warning}")
    runs = [plans.PlannedRun(plans.new_path(out, settings), settings, command) for settings in plan]
    place = runs[0].folder
    if len(runs) > 1:
        place = out / plan[0].recipe
        plans.write_plan(place, runs)
    built = last if len(runs) == 1 else None  # a single run is built only once
    how = Launching(jobs=processes(jobs, runs))
    return Runs(runs, console, place, how, resources=resources, built=built)


def resumed(
    path: Path, *, console: Console, trust_code: bool = False, jobs: int | None = None
) -> Runs:
    """Return an unfinished run, or all runs of an unfinished plan.

    Args:
        path: folder of a run or of a plan.
        console: console for the progress.
        trust_code: whether code named in the folder may be imported.
        jobs: see :func:`new_runs`.

    Raises:
        InputError: there is nothing to resume, or the folder names code.
    """
    if (path / "config.yaml").is_file():
        runs = [plans.PlannedRun(path, plans.settings_of(path, trust_code))]
        if runs[0].state == "finished":
            raise InputError(f"run folder {path} is finished: there is nothing to resume")
    else:
        runs = plans.unfinished_plan(path, trust_code)
        print_line(console, f"{path}: {plans.describe(runs)}")
    left = [run for run in runs if run.state != "finished"]
    return Runs(runs, console, path, Launching(jobs=processes(jobs, left)))


def processes(jobs: int | None, runs: Sequence[plans.PlannedRun]) -> int:
    """Return the number of processes: ``jobs``, by default one, or one per ``RUNS_PER_PROCESS``
    runs, at most one per core, if each takes one thread (:func:`takes_one_thread`)."""
    if jobs is not None:
        return max(1, min(jobs, len(runs)))
    if not all(takes_one_thread(run.settings) and not run.settings.num_workers for run in runs):
        return 1
    # A process takes seconds to start, so it needs several runs.
    return max(1, min(cores(), len(runs) // RUNS_PER_PROCESS))


def jobs_of(runs: Sequence[plans.PlannedRun]) -> list[RunJob]:
    """Return jobs for the unfinished runs, with number and label among all runs."""
    settings = [run.settings for run in runs]
    return [
        RunJob(number, label, run)
        for number, (label, run) in enumerate(zip(labels_of_runs(settings), runs, strict=True), 1)
        if run.state != "finished"
    ]


def list_faults(faults: Sequence[tuple[str, Exception]]) -> None:
    """Print each failed run and its error; for an unexpected error also the traceback."""
    for label, fault in faults:
        if not isinstance(fault, (InputError, RunError, OSError)):
            traceback.print_exception(fault)
            fault = RunError(f"{type(fault).__name__}: {fault}")
        print(one_sentence(f"failed: {label}: {fault}"), file=sys.stderr)
