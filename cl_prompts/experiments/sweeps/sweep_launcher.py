"""Processes of a sweep on this machine: each executes runs, and one that dies is replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from cl_prompts.experiments.runner.interruption import StopRequest, stop_requests
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_worker import Ended, Job, work

#: how processes begin: not by a fork, since one of a process with threads, or a GPU, may hang
CONTEXT = multiprocessing.get_context("spawn")
_SECONDS = 0.5  # between two looks at signals


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
        ledger: of the runs.
        jobs: processes at the same time; the threads of this one are divided among them.
    """

    def __init__(self, ledger: Ledger, jobs: int) -> None:
        """Start no process yet."""
        self._ledger = ledger
        self._jobs = min(jobs, len(ledger.waiting))
        # As many as ``run`` takes where there is one job.
        self._threads = (
            None if self._jobs == 1 else max(1, torch.get_num_threads() // max(1, self._jobs))
        )
        self._workers: list[_Worker] = []

    def execute(self) -> None:
        """Execute all runs; a signal ends it early."""
        with stop_requests() as request:
            try:
                while self._ledger.waiting or any(worker.run for worker in self._workers):
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

    def _heed(self, request: StopRequest) -> None:
        """Stop everything once a signal asks for it."""
        if request.number is None or self._ledger.stopped is not None:
            return
        self._ledger.stop(request.number)
        for worker in self._workers:
            if worker.run is not None:
                worker.process.terminate()

    def _give(self) -> None:
        """Give waiting runs to idle workers, or to new ones."""
        while self._ledger.waiting:
            worker = next((worker for worker in self._workers if worker.run is None), None)
            if worker is None and len(self._workers) >= self._jobs:
                return
            if worker is None:
                worker = _Worker.start(self._threads)
                self._workers.append(worker)
            worker.run, job = self._ledger.begin()
            worker.send(job)

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
                self._ledger.bury(run, _how(worker.process.exitcode))
            return
        if run is None:
            return
        if isinstance(message, Ended):
            worker.run = None
        self._ledger.hear(run, message)
        if isinstance(message, Ended) and message.last:
            self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        """Wait for a process that ends."""
        worker.connection.close()
        worker.process.join()
        self._workers.remove(worker)


def _how(code: int | None) -> str:
    """In what way a process died, by its exit code."""
    return f"killed by {signal.Signals(-code).name}" if code and code < 0 else "ended early"
