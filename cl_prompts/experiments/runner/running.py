"""Execute the runs of a command, one after another in this process or with an executor."""

import sys
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
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


def run_all(
    plan: Sequence[RunConfig], *, out: Path, console: Console, command: str, jobs: int | None = None
) -> Iterator[Path]:
    """Check all runs, then execute them; yield the folder of each finished run.

    The plan is written above the run folders, so that :func:`resume` can finish it.

    Args:
        plan: settings of the runs.
        out: parent of the recipes' folders.
        console: console for the progress.
        command: command line.
        jobs: parallel runs; None chooses, see :func:`processes`.

    Raises:
        InputError: a run cannot be built; no run has started.
        RunError: a fault during a run.
        Interrupted: a signal came.
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
    try:
        yield from _finish(runs, place, console, jobs, resources, built)
    finally:
        remove_empty(runs)


def remove_empty(runs: Sequence[plans.PlannedRun]) -> None:
    """Remove the empty folders of runs that never started."""
    for run in runs:
        if run.state == "missing":
            with suppress(OSError):
                run.folder.rmdir()  # fails unless it is empty


def resume(
    path: Path, *, console: Console, trust_code: bool = False, jobs: int | None = None
) -> Iterator[Path]:
    """Resume an unfinished run from its last checkpoint, or finish all runs of a plan.

    Args:
        path: folder of a run or of a plan.
        console: console for the progress.
        trust_code: whether code named in the folder may be imported.
        jobs: see :func:`run_all`.

    Yields:
        The folder of each finished run.

    Raises:
        InputError: there is nothing to resume, the folder names code, or a run cannot be built.
        RunError: a fault during a run.
        Interrupted: a signal came.
    """
    if (path / "config.yaml").is_file():
        runs = [plans.PlannedRun(path, plans.settings_of(path, trust_code))]
        if runs[0].state == "finished":
            raise InputError(f"run folder {path} is finished: there is nothing to resume")
    else:
        runs = plans.unfinished_plan(path, trust_code)
        print_line(console, f"{path}: {plans.describe(runs)}")
    yield from _finish(runs, path, console, jobs, Resources())


def _finish(
    runs: Sequence[plans.PlannedRun],
    place: Path,
    console: Console,
    jobs: int | None,
    resources: Resources,
    built: Run | None = None,
) -> Iterator[Path]:
    left = jobs_of(runs)
    before = [run.folder for run in runs if run.state == "finished"]
    how = Launching(jobs=processes(jobs, [job.run for job in left]))
    with stop_says(lambda: _continuation(runs, place)), Display(console, len(runs)) as display:
        yield from before
        with closing(executed(left, how, display, resources, built=built)) as ends:
            for job, fault in ends:
                if fault is not None:
                    raise fault
                yield job.run.folder


def _continuation(runs: Sequence[plans.PlannedRun], place: Path) -> str:
    """Return how to continue after a stop; ``place`` is the folder of the run or of the plan."""
    states = {run.state for run in runs}
    if states == {"finished"}:
        command = f"cl-prompts report {quote(str(place))}"
        return f"stopped before the report was written; write it with: {command}"
    if len(runs) == 1 and states == {"missing"}:
        return "stopped before the run was begun"
    trust = " --trust-code" if any(run.settings.user_code() for run in runs) else ""
    return f"stopped; continue with: cl-prompts run --resume {quote(str(place))}{trust}"


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


# ---------------------------------------------------------------------------------- execution


def executed(
    jobs: Sequence[RunJob],
    how: Launching,
    display: Display,
    resources: Resources,
    out: Path = Path("runs"),
    built: Run | None = None,
) -> Generator[tuple[Any, Fault], None, None]:
    """Execute runs; yield each when it ends, with its error or None.

    Args:
        jobs: jobs of unfinished runs.
        how: executor and number of parallel runs.
        display: display of the progress.
        resources: backbones and image checks that runs in this process share.
        out: parent of the folder for Slurm jobs.
        built: a single run, if it is built already.

    Raises:
        Interrupted: a signal came; the state of every run is saved.
    """
    if not jobs:
        return
    if how.kind == "local" and (how.jobs or 1) == 1:
        for job in jobs:
            fault: Fault = None
            end = "stopped"
            watcher = display.begin(job.number, job.label)
            try:
                complete(job.run, watcher, resources, built)
                end = job.outcome()
            except Exception as error:
                fault, end = error, "failed"
            finally:
                display.end(job.number, end)
            yield job, fault
        return
    device = jobs[0].run.settings.device
    yield from job_ends(jobs, how, display, device=device, out=out, threads=torch.get_num_threads())


def list_faults(faults: Sequence[tuple[str, Exception]]) -> None:
    """Print each failed run and its error; for an unexpected error also the traceback."""
    for label, fault in faults:
        if not isinstance(fault, (InputError, RunError, OSError)):
            traceback.print_exception(fault)
            fault = RunError(f"{type(fault).__name__}: {fault}")
        print(one_sentence(f"failed: {label}: {fault}"), file=sys.stderr)
