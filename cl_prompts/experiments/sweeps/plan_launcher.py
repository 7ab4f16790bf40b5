"""Runs of a plan in several processes of this machine: the folders and numbers of one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console

from cl_prompts.errors import RunError
from cl_prompts.experiments.recipes.grid import differing_settings, labels_of_runs
from cl_prompts.experiments.run_folder.plans import Plan, PlannedRun
from cl_prompts.experiments.runner.interruption import Stopped
from cl_prompts.experiments.runner.process import cores, takes_one_thread
from cl_prompts.experiments.sweeps.sweep_launcher import FORKS, Launcher, forked
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_worker import Job
from cl_prompts.experiments.tracking.progress import display_on

#: runs that pay for a process: a fork begins at once, another one loads its libraries first
RUNS_PER_PROCESS = 1 if FORKS else 4


def in_processes(jobs: int | None, plan: Plan, console: Console) -> Iterator[Path] | None:
    """Execute the unfinished runs of a plan, several at a time.

    After a fault no further run begins, and those under way are finished. A run whose process is
    killed goes on in another one.

    Args:
        jobs: runs at the same time; None: see :func:`processes`.
        plan: of the runs.
        console: where progress is drawn.

    Returns:
        the folders of all finished runs, in the order of the plan, once the runs have ended; None
        where one process is to execute them.
    """
    number = processes(jobs, plan.runs)
    return _executed(plan, number, console) if number > 1 else None


def processes(jobs: int | None, runs: Sequence[PlannedRun]) -> int:
    """Processes that the unfinished runs of a plan get.

    Args:
        jobs: as many as there are runs for; None for as many as cores and memory allow where each
            run keeps one core busy (:func:`takes_one_thread`), and otherwise for one.
        runs: of the plan.
    """
    left = [run.settings for run in runs if run.state != "finished"]
    if jobs is not None:
        return min(jobs, len(left))
    if not all(takes_one_thread(run) and not run.num_workers for run in left):
        return 1
    # A process costs seconds to begin: one is worth it for several runs.
    return max(1, min(cores(), len(left) // RUNS_PER_PROCESS))


def _executed(plan: Plan, number: int, console: Console) -> Iterator[Path]:
    settings = [run.settings for run in plan.runs]
    varied = differing_settings(settings)
    runs = [
        SweptRun(place, label, run.settings, run.folder)
        for place, (label, run) in enumerate(
            zip(labels_of_runs(settings), plan.runs, strict=True), 1
        )
    ]
    left = [run for run in runs if run.planned.state != "finished"]
    # The threads of one process: another number may change the rounding of sums.
    threads = torch.get_num_threads()
    alike = all(takes_one_thread(run.planned.settings) for run in left)
    with (
        forked(number if alike else 0) as workers,
        display_on(console, len(runs), n_ended=len(runs) - len(left)) as display,
    ):
        ledger = Ledger(
            left,
            display,
            lambda run: Job(run.planned, plan.command, varied),
            ends_at_fault=True,
        )
        Launcher(ledger, number, threads, workers).execute()
    yield from (run.folder for run in plan.runs if run.state == "finished")
    if ledger.stopped is not None:
        raise Stopped(number=ledger.stopped)
    for run in left:
        if run.fault is not None:
            raise RunError(run.fault)
