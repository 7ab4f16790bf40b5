"""Processes of a sweep on this machine: each executes runs, and one that dies is replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from cl_prompts.experiments.interruption import StopRequest, stop_requests
from cl_prompts.experiments.plans import PlannedRun
from cl_prompts.experiments.progress import Display
from cl_prompts.experiments.settings import Settings
from cl_prompts.experiments.sweep_worker import Advanced, Ended, Job, Noted, work

#: how processes begin: not by a fork, since one of a process with threads, or a GPU, may hang
CONTEXT = multiprocessing.get_context("spawn")
#: times that a run goes on whose process was killed
RESUMES = 2
_SECONDS = 0.5  # between two looks at signals
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
        kills: times that its process was killed.
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


@dataclass
class _Worker:
    """A process of the sweep, and the run that it executes."""

    process: BaseProcess
    connection: Connection
    run: SweptRun | None = None

    @classmethod
    def start(cls, threads: int | None) -> _Worker:
        mine, its = CONTEXT.Pipe()
        process = CONTEXT.Process(target=work, args=(its, threads))
        process.start()
        its.close()  # so that its death closes the connection
        return cls(process, mine)

    def send(self, job: Job | None) -> None:
        """Send a job, or the word that there are no more."""
        # One that was killed while idle takes nothing: its end is heard of next.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send(job)


class Launcher:
    """Executor of runs in processes of this machine.

    Args:
        runs: to execute, in this order.
        jobs: processes at the same time; the threads of this one are divided among them.
        display: where progress is shown.
        begin: called with a run that is about to be executed; makes its job.
    """

    def __init__(
        self,
        runs: Sequence[SweptRun],
        jobs: int,
        display: Display,
        begin: Callable[[SweptRun], Job],
    ) -> None:
        """Start no process yet."""
        self._waiting = deque(runs)
        self._jobs = min(jobs, len(runs))
        # As many as ``run`` takes where there is one job.
        self._threads = (
            None if self._jobs == 1 else max(1, torch.get_num_threads() // max(1, self._jobs))
        )
        self._display = display
        self._begin = begin
        self._workers: list[_Worker] = []
        self._stopped: int | None = None

    def execute(self) -> int | None:
        """Execute all runs.

        Returns:
            Number of the signal that ended it early, None for none.
        """
        with stop_requests() as request:
            try:
                while self._waiting or any(worker.run for worker in self._workers):
                    self._heed(request)
                    self._give()
                    for worker in self._ready():
                        self._hear(worker)
                for worker in self._workers:
                    worker.send(None)
            finally:
                for worker in self._workers:
                    # Where it still trains, this tells it to stop.
                    worker.connection.close()
        for worker in self._workers:
            worker.process.join()
        return self._stopped

    def _heed(self, request: StopRequest) -> None:
        """Stop everything once a signal asks for it."""
        if request.number is None or self._stopped is not None:
            return
        self._stopped = request.number
        self._waiting.clear()
        for worker in self._workers:
            if worker.run is not None:
                worker.process.terminate()

    def _give(self) -> None:
        """Give waiting runs to idle workers, or to new ones."""
        while self._waiting:
            worker = next((worker for worker in self._workers if worker.run is None), None)
            if worker is None and len(self._workers) >= self._jobs:
                return
            if worker is None:
                worker = _Worker.start(self._threads)
                self._workers.append(worker)
            run = self._waiting.popleft()
            worker.run = run
            self._display.begin(run.number, run.label)
            worker.send(self._begin(run))

    def _ready(self) -> list[_Worker]:
        """Workers that have something to say, or died; none after a while without any."""
        found = wait([worker.connection for worker in self._workers], timeout=_SECONDS)
        return [worker for worker in self._workers if worker.connection in found]

    def _hear(self, worker: _Worker) -> None:
        """Take what a worker says, or its death."""
        run = worker.run
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._dismiss(worker)
            if run is not None:
                self._bury(run, worker.process.exitcode)
            return
        if run is None:
            return
        if isinstance(message, Advanced):
            self._display.advance(run.number, message.samples, message.total, message.a_auc)
        elif isinstance(message, Noted):
            self._display.say(f"note: {run.label}: {message.sentence}")
        elif isinstance(message, Ended):
            worker.run = None
            self._end(run, message)
            if message.last:
                self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        """Wait for a process that ends."""
        worker.connection.close()
        worker.process.join()
        self._workers.remove(worker)

    def _end(self, run: SweptRun, ended: Ended) -> None:
        if ended.traceback:
            print(ended.traceback, file=sys.stderr)
        if ended.fault is None:
            self._display.end(run.number, "finished")
        elif ended.stopped and self._stopped is not None:
            self._display.end(run.number, "stopped")
        else:
            run.fault = ended.fault
            self._display.end(run.number, f"failed: {ended.fault}")

    def _bury(self, run: SweptRun, code: int | None) -> None:
        """Let a run whose process died go on in another one, a few times."""
        how = f"killed by {signal.Signals(-code).name}" if code and code < 0 else "ended early"
        run.kills += 1
        if self._stopped is not None:
            self._display.end(run.number, "stopped")
        elif run.kills <= RESUMES:
            self._display.take_back(
                run.number, f"its process was {how}, and the run goes on in another one"
            )
            self._waiting.appendleft(run)
        else:
            run.fault = f"its process was {how}, at attempt {run.kills}"
            self._display.end(run.number, f"failed: {run.fault}")
