"""Runs of a sweep that wait or are under way, and the loop that executes them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cl_prompts.errors import say
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.run_folder.plans import PlannedRun
from cl_prompts.experiments.runner.interruption import stop_requests
from cl_prompts.experiments.sweeps.sweep_worker import Advanced, Job, Message, Noted
from cl_prompts.experiments.tracking.progress import Display

#: times that a run goes on whose process was killed or stopped
RESUMES = 2
_NOT_BEGUN = Path("not begun")


@dataclass
class SweptRun:
    """One run of a sweep.

    Attributes:
        number: from 1.
        label: short name.
        settings: of the run.
        folder: of the run; None before it begins.
        fault: why it failed.
        kills: times that its process was killed or stopped.
    """

    number: int
    label: str
    settings: Settings
    folder: Path | None = None
    fault: str | None = None
    kills: int = 0

    @property
    def planned(self) -> PlannedRun:
        """The run and its folder."""
        return PlannedRun(self.folder or _NOT_BEGUN, self.settings)


class Executor(Protocol):
    """Place where runs are executed.

    Attributes:
        jobs: runs under way at the same time.
    """

    jobs: int

    def assign(self, run: SweptRun, job: Job) -> None:
        """Begin to execute a run."""

    def cancel(self) -> None:
        """Ask all runs under way to save their state and stop."""

    def collect(self) -> None:
        """Wait a moment for messages and ends of runs, and pass them on to the ledger."""


class Ledger:
    """The runs of a sweep that wait, and the next step of each that begins, ends or dies.

    Args:
        runs: to execute, in this order.
        display: where progress is shown.
        make_job: called with a run that is about to be executed.
        ends_at_fault: whether no further run begins when one has failed.

    Attributes:
        waiting: runs that nobody executes.
        under_way: runs that are executed, by number.
        stopped: number of the signal that ended the sweep early; None for none.
    """

    def __init__(
        self,
        runs: Sequence[SweptRun],
        display: Display,
        make_job: Callable[[SweptRun], Job],
        *,
        ends_at_fault: bool = False,
    ) -> None:
        """All runs wait."""
        self.waiting = deque(runs)
        self.under_way: dict[int, SweptRun] = {}
        self.stopped: int | None = None
        self._display = display
        self._make_job = make_job
        self._ends_at_fault = ends_at_fault

    def execute(self, executor: Executor) -> None:
        """Execute all runs; a signal ends it early."""
        with stop_requests() as request:
            while self.waiting or self.under_way:
                if request.number is not None and self.stopped is None:
                    self.stop(request.number)
                    executor.cancel()
                while self.waiting and len(self.under_way) < executor.jobs:
                    executor.assign(*self.begin())
                if self.under_way:
                    executor.collect()
            self.stopped = request.number  # one may have come since

    def begin(self) -> tuple[SweptRun, Job]:
        """Take the first run that waits, to be executed now."""
        run = self.waiting.popleft()
        self.under_way[run.number] = run
        self._display.begin(run.number, run.label)
        return run, self._make_job(run)

    def say(self, text: str) -> None:
        """Print a line."""
        self._display.say(text)

    def stop(self, number: int) -> None:
        """Begin no further run, since a signal asks for an end."""
        self.stopped = number
        self.waiting.clear()

    def handle(self, run: SweptRun, message: Message) -> None:
        """Handle a message of a run under way."""
        if isinstance(message, Advanced):
            self._display.advance(run.number, message.samples, message.total, message.a_auc)
        elif isinstance(message, Noted):
            self.say(f"note: {run.label}: {message.sentence}")
        elif message.stopped:
            # Where the sweep goes on, whoever runs the machine has stopped this run alone.
            self.requeue_or_fail(run, message.fault or "")
        else:
            if message.traceback:
                say(message.traceback, sys.stderr)
            self._end(run, message.fault)

    def requeue_or_fail(self, run: SweptRun, how: str) -> None:
        """Let a run whose process died, or was stopped, go on in another one, a few times.

        Args:
            run: whose process died.
            how: it died, such as "killed by SIGKILL" or "stopped by signal 15".
        """
        if run.planned.state == "finished":  # it died as it was about to say so
            self._end(run, None)
            return
        run.kills += 1
        if self.stopped is None and run.kills > RESUMES:
            self._end(run, f"its process was {how}, at attempt {run.kills}")
            return
        del self.under_way[run.number]
        if self.stopped is not None:
            self._display.end(run.number, "stopped")
            return
        self._display.take_back(
            run.number, f"its process was {how}, and the run goes on in another one"
        )
        # In front: it goes on at a checkpoint, and what waits has not begun.
        self.waiting.appendleft(run)

    def _end(self, run: SweptRun, fault: str | None) -> None:
        del self.under_way[run.number]
        run.fault = fault
        if fault is not None and self._ends_at_fault:
            self.waiting.clear()
        self._display.end(run.number, "finished" if fault is None else f"failed: {fault}")
