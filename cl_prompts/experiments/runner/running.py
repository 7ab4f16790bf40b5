"""Execute the runs of a command, one after another in this process or with an executor."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote

import torch
from rich.console import Console

from cl_prompts.backbones.devices import cores, threads
from cl_prompts.errors import InputError, RunError, one_sentence
from cl_prompts.experiments.recipes.run_config import RunConfig, labels_of_runs
from cl_prompts.experiments.run_folder.plans import (
    PlannedRun,
    describe,
    new_path,
    settings_of,
    unfinished_plan,
    write_plan,
)
from cl_prompts.experiments.runner.building import Resources, check_plan
from cl_prompts.experiments.runner.execution import Shard, complete
from cl_prompts.experiments.runner.executors import (
    Executor,
    Job,
    Launching,
    Processes,
    RayTasks,
    SlurmJobs,
)
from cl_prompts.experiments.runner.orders import in_order
from cl_prompts.experiments.runner.run import Run, takes_one_thread
from cl_prompts.experiments.runner.shards import (
    Sharding,
    ShardJob,
    check_shards,
    remove_shards,
    use_shards,
)
from cl_prompts.experiments.runner.signals import Interrupted, StopRequest, stop_requests, stop_says
from cl_prompts.experiments.runner.submissions import Fault, Notes, Submissions
from cl_prompts.experiments.tracking.progress import Display, Watcher, print_line

#: runs that justify a process, which takes seconds to start
RUNS_PER_PROCESS = 4


def run_all(
    plan: Sequence[RunConfig],
    *,
    out: Path,
    console: Console,
    command: str,
    jobs: int | None = None,
    sharding: Sharding | None = None,
) -> Iterator[Path]:
    """Check all runs, then execute them; yield the folder of each finished run.

    The plan is written above the run folders, so that :func:`resume` can finish it.

    Args:
        plan: settings of the runs.
        out: parent of the recipes' folders.
        console: console for the progress.
        command: command line.
        jobs: parallel runs; None chooses, see :func:`processes`.
        sharding: division of each run, which then are made one after another.

    Raises:
        InputError: a run cannot be built; no run has started.
        RunError: a fault during a run.
        Interrupted: a signal came.
    """
    resources = Resources()
    if any(run.order for run in plan):
        plan = in_order(plan, resources)
    # Before the first run trains: a mistake in the last one must show now, not tomorrow.
    with threads(one=all(map(takes_one_thread, plan))):
        last, warnings = check_plan(plan, resources)
        if sharding is not None:
            warnings += check_shards(last)
    for warning in warnings:
        print_line(console, f"note: {warning}")
    runs = [PlannedRun(new_path(out, settings), settings, command) for settings in plan]
    # A single run is built only once.
    built = last if len(runs) == 1 else None
    above = None
    if len(runs) > 1:
        above = out / plan[0].recipe
        write_plan(above, runs)
    try:
        yield from _finish(runs, above, console, jobs, resources, built, sharding)
    finally:
        if len(runs) == 1:
            remove_empty(runs)


def remove_empty(runs: Sequence[PlannedRun]) -> None:
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
        run = PlannedRun(path, settings_of(path, trust_code))
        if run.state == "finished":
            raise InputError(f"run folder {path} is finished: there is nothing to resume")
        sharding = Sharding.of(path)
        yield from _finish([run], None, console, jobs, Resources(), None, sharding)
        return
    runs = unfinished_plan(path, trust_code)
    print_line(console, f"{path}: {describe(runs)}")
    yield from _finish(runs, path, console, jobs, Resources())


def _finish(
    runs: Sequence[PlannedRun],
    above: Path | None,
    console: Console,
    jobs: int | None,
    resources: Resources,
    built: Run | None = None,
    sharding: Sharding | None = None,
) -> Iterator[Path]:
    left = jobs_of(runs)
    before = [run.folder for run in runs if run.state == "finished"]
    shard = None if sharding is None else partial(sharded, sharding)
    number = processes(jobs, [job.run for job in left]) if shard is None else 1
    with (
        stop_says(lambda: _continuation(runs, above)),
        Display(console, len(runs)) as display,
    ):
        yield from before
        if number == 1:
            ends = _one_after_another(left, display, resources, built, shard)
        else:
            ends = executed(left, Launching(jobs=number), display, resources)
        with closing(ends):
            for job, fault in ends:
                if fault is not None:
                    raise fault
                yield job.run.folder


def _continuation(runs: Sequence[PlannedRun], above: Path | None) -> str:
    """Return how to continue after a stop outside of training; ``above`` is the folder of the plan,
    None for a single run."""
    place = quote(str(runs[0].folder if above is None else above))
    states = {run.state for run in runs}
    if states == {"finished"}:
        return f"stopped before the report was written; write it with: cl-prompts report {place}"
    if above is None and states == {"missing"}:
        return "stopped before the run was begun"
    trust = " --trust-code" if any(run.settings.imported() for run in runs) else ""
    return f"stopped; continue with: cl-prompts run --resume {place}{trust}"


def processes(jobs: int | None, runs: Sequence[PlannedRun]) -> int:
    """Return the number of processes: ``jobs``, by default one, or one per ``RUNS_PER_PROCESS``
    runs, at most one per core, if each takes one thread (:func:`takes_one_thread`)."""
    if jobs is not None:
        return max(1, min(jobs, len(runs)))
    if not all(takes_one_thread(run.settings) and not run.settings.num_workers for run in runs):
        return 1
    # A process takes seconds to start, so it needs several runs.
    return max(1, min(cores(), len(runs) // RUNS_PER_PROCESS))


def jobs_of(runs: Sequence[PlannedRun]) -> list[Job]:
    """Return jobs for the unfinished runs, with number and label among all runs."""
    settings = [run.settings for run in runs]
    home = str(Path.cwd())
    return [
        Job(number, label, run, home)
        for number, (label, run) in enumerate(zip(labels_of_runs(settings), runs, strict=True), 1)
        if run.state != "finished"
    ]


# ---------------------------------------------------------------------------------- execution


def executed(
    jobs: Sequence[Job],
    how: Launching,
    display: Display,
    resources: Resources,
    out: Path = Path("runs"),
) -> Generator[tuple[Job, Fault], None, None]:
    """Execute runs; yield each when it ends, with its error or None.

    Args:
        jobs: jobs of unfinished runs.
        how: executor and number of parallel runs.
        display: display of the progress.
        resources: backbones and image checks that runs in this process share.
        out: parent of the folder for Slurm jobs.

    Raises:
        Interrupted: a signal came; the state of every run is saved.
    """
    if not jobs:
        return
    if how.kind == "local" and (how.jobs or 1) == 1:
        yield from _one_after_another(jobs, display, resources)
        return
    with _queue(jobs, how, display, out) as queue, stop_requests() as request:
        yield from queue.ends(request)
        request.obey()


@contextmanager
def _queue(
    jobs: Sequence[Job], how: Launching, display: Display | Notes, out: Path
) -> Iterator[Submissions]:
    """Open a queue of jobs; an error asks those under way to save their state and end."""
    executor = _executor(how, jobs[0].run.settings.device, out)
    queue = Submissions(jobs, executor, how.jobs or len(jobs), display)
    try:
        yield queue
    except BaseException:  # also GeneratorExit, of an error outside
        executor.stop(list(queue.under_way))
        raise
    finally:
        executor.close()


def _executor(how: Launching, device: str, out: Path) -> Executor:
    if how.kind == "ray":
        return RayTasks(how, device)
    if how.kind == "slurm":
        return SlurmJobs(how, device, out)
    n = how.jobs or 1
    return Processes(n, max(1, torch.get_num_threads() // n))


def _one_after_another(
    jobs: Sequence[Job],
    display: Display,
    resources: Resources,
    built: Run | None = None,
    shard: Shard | None = None,
) -> Generator[tuple[Job, Fault], None, None]:
    for job in jobs:
        fault: Fault = None
        try:
            with display.run(job.number, job.label) as watcher:
                complete(job.run, watcher, resources, built, shard)
            if shard is not None:
                remove_shards(job.run.folder)
        except Interrupted as stop:
            if display.n_runs == 1:
                raise
            # The caller names the command that continues all runs.
            raise Interrupted(number=stop.number) from stop
        except Exception as error:
            fault = error
        yield job, fault


def sharded(
    sharding: Sharding, planned: PlannedRun, run: Run, request: StopRequest, watcher: Watcher
) -> None:
    """Compute the unfinished shards of a run, and let the run use them.

    Raises:
        RunError: a fault in a shard.
        Interrupted: a signal came; finished parts remain.
    """
    sharding.write(planned.folder)
    home, n = str(Path.cwd()), sharding.shards
    every = [ShardJob(k, f"shard {k}", planned, home, n) for k in range(1, n + 1)]
    left = [job for job in every if not job.finished]
    how = sharding.how
    if how.kind == "local" and how.jobs is None:
        how = replace(how, jobs=min(n, cores()))
    if (how.kind, how.jobs) == ("local", 1):
        for job in left:
            job.execute()
            request.obey()
    elif left:
        with _queue(left, how, Notes(watcher), planned.folder) as queue:
            for _, fault in queue.ends(request):
                if fault is not None:
                    raise fault
            request.obey()
    use_shards(run, planned.folder, n)


def list_faults(faults: Sequence[tuple[str, Exception]]) -> None:
    """Print each failed run and its error; for an unexpected error also the traceback."""
    for label, fault in faults:
        if not isinstance(fault, (InputError, RunError, OSError)):
            traceback.print_exception(fault)
            fault = RunError(f"{type(fault).__name__}: {fault}")
        print(one_sentence(f"failed: {label}: {fault}"), file=sys.stderr)
