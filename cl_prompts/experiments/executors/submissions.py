"""Queue of jobs for an executor."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

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
from cl_prompts.experiments.executors.signals import StopRequest

Fault = Exception | None
_SECONDS = 0.2  # between two polls of the submitted jobs


class Display(Protocol):
    """Display of jobs that start and end."""

    def begin(self, number: int, label: str) -> object:
        """Show the start of a job."""

    def end(self, number: int, how: str) -> None:
        """Show the end of a job."""


class Submissions:
    """Queue of jobs for an executor, at most ``at_once`` of them running."""

    def __init__(
        self, jobs: Sequence[Job], executor: Executor, at_once: int, display: Display
    ) -> None:
        self.under_way: dict[Any, Job] = {}
        self._waiting = deque(jobs)
        self._executor = executor
        self._at_once = at_once
        self._display = display
        self._deaths: dict[int, int] = {}

    def ends(self, request: StopRequest) -> Iterator[tuple[Job, Fault]]:
        """Submit all jobs; yield each with its error when it ends."""
        stopping = False
        while self.under_way or (self._waiting and not stopping):
            if request.number is not None and not stopping:
                stopping = True
                self._executor.stop(list(self.under_way))
            done = [submitted for submitted in self.under_way if submitted.done()]
            if any(isinstance(_error(submitted), BrokenExecutor) for submitted in done):
                done = list(self.under_way)  # a broken pool loses all its jobs
                if isinstance(self._executor, Processes):
                    self._executor.renew()
            for submitted in done:
                yield from self._end(submitted, stopping=stopping)
            while self._waiting and len(self.under_way) < self._at_once and not stopping:
                yield from self._submit(self._waiting.popleft())
            if not done:
                time.sleep(_SECONDS)

    def _submit(self, job: Job) -> Iterator[tuple[Job, Fault]]:
        self._display.begin(job.number, job.label)
        try:
            submitted = self._executor.submit(execute_job, job)
        except RuntimeError as error:  # sbatch refused the job
            yield self._failed(job, RunError(f"its job was refused: {error}"))
        else:
            self.under_way[submitted] = job

    def _end(self, submitted: Any, *, stopping: bool) -> Iterator[tuple[Job, Fault]]:
        job = self.under_way.pop(submitted)
        error = _error(submitted)
        if job.finished:
            self._display.end(job.number, job.outcome())
            yield job, None
        elif stopping:
            self._display.end(job.number, "stopped")
        elif isinstance(error, Exception) and not isinstance(error, BrokenExecutor):
            yield self._failed(job, error)
        else:
            yield from self._begin_again(job)

    def _begin_again(self, job: Job) -> Iterator[tuple[Job, Fault]]:
        # A run that saved its state did not die itself.
        died = not job.interrupted
        self._deaths[job.number] = self._deaths.get(job.number, 0) + died
        if self._deaths[job.number] > RESUBMISSIONS:
            yield self._failed(job, RunError(f"its process died {RESUBMISSIONS + 1} times"))
            return
        self._display.end(job.number, "its process ended: it resumes in another one")
        # Before runs that have not started.
        self._waiting.appendleft(job)

    def _failed(self, job: Job, fault: Exception) -> tuple[Job, Fault]:
        self._display.end(job.number, f"failed: {fault}")
        return job, fault


@contextmanager
def queue_of(
    jobs: Sequence[Job], how: Launching, display: Display, *, device: str, out: Path, threads: int
) -> Iterator[Submissions]:
    """Open a queue of jobs; an error asks those under way to save their state and end.

    Args:
        jobs: what to do.
        how: where.
        display: receiver of starts and ends.
        device, out, threads: see :func:`executor_of`.
    """
    executor = executor_of(how, device, out, threads)
    queue = Submissions(jobs, executor, how.jobs or len(jobs), display)
    try:
        yield queue
    except BaseException:  # also GeneratorExit, of an error outside
        executor.stop(list(queue.under_way))
        raise
    finally:
        executor.close()


def _error(submitted: Any) -> BaseException | None:
    """Return the error of a function; None for Slurm, whose results are pickles."""
    error = submitted.exception() if isinstance(submitted, Future) else None
    return getattr(error, "cause", error)  # Ray wraps the error of a task
