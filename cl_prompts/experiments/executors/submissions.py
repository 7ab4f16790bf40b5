"""Queue of jobs for an executor."""

import time
from collections import Counter, deque
from collections.abc import Generator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import closing
from pathlib import Path
from typing import Any

from cl_prompts.errors import RunError
from cl_prompts.experiments.executors.launching import (
    RESUBMISSIONS,
    Executor,
    Job,
    Launching,
    Processes,
    execute_job,
    executor_of,
)
from cl_prompts.experiments.executors.signals import stop_requests

Fault = Exception | None
_SECONDS = 0.2  # between two polls of the submitted jobs


def job_ends(
    jobs: Sequence[Job], how: Launching, display: Any, *, device: str, out: Path, threads: int
) -> Generator[tuple[object, Fault], None, None]:
    """Execute jobs; yield each with its error or None when it ends.

    A signal, or closing the generator, asks the jobs under way to save their state and end.

    Args:
        jobs: what to do.
        how: where.
        display: its ``begin`` and ``end`` show the starts and ends of jobs.
        device, out, threads: see :func:`executor_of`.

    Raises:
        Interrupted: a signal came; the state of every job is saved.
    """
    executor = executor_of(how, device, out, threads)
    waiting = deque(jobs)
    under_way: dict[Any, Job] = {}
    deaths: Counter[int] = Counter()
    with closing(executor), stop_requests() as request:
        try:
            while waiting or under_way:
                while waiting and len(under_way) < (how.jobs or len(jobs)):
                    job = waiting.popleft()
                    display.begin(job.number, job.label)
                    under_way[executor.submit(execute_job, job)] = job
                done = _done(under_way, executor)
                request.obey()
                for submitted in done:
                    job = under_way.pop(submitted)
                    fault = None if job.finished else _fault(job, submitted, deaths)
                    if fault is None and not job.finished:
                        display.end(job.number, "its process ended: it resumes in another one")
                        waiting.appendleft(job)  # before runs that have not started
                    else:
                        display.end(job.number, f"failed: {fault}" if fault else job.outcome())
                        yield job, fault
        except BaseException:  # also GeneratorExit
            executor.stop(list(under_way))
            while not all(submitted.done() for submitted in under_way):
                time.sleep(_SECONDS)
            raise


def _done(under_way: dict[Any, Job], executor: Executor) -> list[object]:
    """Return what has ended, after a moment if there is nothing."""
    done = [submitted for submitted in under_way if submitted.done()]
    if not done:
        time.sleep(_SECONDS)
    if isinstance(executor, Processes) and any(map(_is_broken, done)):
        done = list(under_way)  # a broken pool loses all its jobs
        executor.renew()
    return done


def _is_broken(submitted: Future[None]) -> bool:
    return isinstance(submitted.exception(), BrokenExecutor)


def _fault(job: Job, submitted: object, deaths: Counter[int]) -> Fault:
    """Return why a job failed; None if it is to be submitted again."""
    # The results of Slurm's jobs are pickles.
    error = submitted.exception() if isinstance(submitted, Future) else None
    error = getattr(error, "cause", error)  # Ray wraps the error of a task
    if isinstance(error, Exception) and not isinstance(error, BrokenExecutor):
        return error
    # A run that saved its state did not die itself.
    deaths[job.number] += not job.interrupted
    if deaths[job.number] > RESUBMISSIONS:
        return RunError(f"its process died {RESUBMISSIONS + 1} times")
    return None
