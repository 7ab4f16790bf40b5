"""Processes of a sweep on this machine: each executes runs, and one that dies is replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_worker import Ended, Job, work

#: how processes begin: not by a fork, since one of a process with threads, or a GPU, may hang; but
#: see :func:`forked`
CONTEXT = multiprocessing.get_context("spawn")
#: whether libraries of the system allow a fork
FORKS = sys.platform == "linux"
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
        """Send a job, or None when there are no more."""
        # The end of one that was killed while idle is handled next.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send(job)


@contextlib.contextmanager
def forked(number: int) -> Iterator[list[_Worker]]:
    """Processes of one thread each that have loaded what this one has, and begin at once.

    They compute on the CPU, and are forked before a progress display has
    its thread. Torch's own threads, which a fork does not copy, are never asked for where there is
    to be one.

    Args:
        number: of processes; none are made without :data:`FORKS`.
    """
    workers: list[_Worker] = []
    number = number if FORKS else 0
    try:
        for _ in range(number):
            context = multiprocessing.get_context("fork")
            mine, its = CONTEXT.Pipe()
            # A forked process inherits the parent's ends of all pipes. It has to close them: as
            # long as one is open anywhere, a worker never hears that the parent has died.
            others = [mine, *(worker.connection for worker in workers)]
            process = context.Process(target=work, args=(its, 1, others))
            process.start()
            its.close()
            workers.append(_Worker(process, mine))
        yield workers
    finally:
        for worker in workers:
            worker.connection.close()


class Launcher:
    """Executor of runs in processes of this machine.

    Args:
        ledger: of the runs.
        jobs: processes at the same time.
        threads: of each; None divides the threads of this one among them.
        workers: processes that have begun, for want of which others begin.
    """

    def __init__(
        self,
        ledger: Ledger,
        jobs: int,
        threads: int | None = None,
        workers: Sequence[_Worker] = (),
    ) -> None:
        """Start no process yet."""
        self.jobs = min(jobs, len(ledger.waiting))
        self._ledger = ledger
        # As many as ``run`` takes where there is one job.
        if threads is None and self.jobs > 1:
            threads = max(1, torch.get_num_threads() // self.jobs)
        self._threads = threads
        self._workers = list(workers)

    def execute(self) -> None:
        """Execute all runs; a signal ends it early."""
        try:
            self._ledger.execute(self)
            for worker in self._workers:
                worker.send(None)
        finally:
            for worker in self._workers:
                # Where it still trains, this tells it to stop.
                worker.connection.close()
        for worker in self._workers:
            worker.process.join()

    def assign(self, run: SweptRun, job: Job) -> None:
        """Give a run to an idle worker, or to a new one."""
        worker = next((worker for worker in self._workers if worker.run is None), None)
        if worker is None:
            worker = _Worker.start(self._threads)
            self._workers.append(worker)
        worker.run = run
        worker.send(job)

    def cancel(self) -> None:
        """Stop all workers that execute runs."""
        for worker in self._workers:
            if worker.run is not None:
                worker.process.terminate()

    def collect(self) -> None:
        """Handle messages and deaths of workers; none after a while without any."""
        found = wait([worker.connection for worker in self._workers], timeout=_SECONDS)
        for worker in list(self._workers):
            if worker.connection in found:
                self._handle_message(worker)

    def _handle_message(self, worker: _Worker) -> None:
        """Handle a message of a worker, or its death."""
        run = worker.run
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._join(worker)
            if run is not None:
                self._ledger.requeue_or_fail(run, _how(worker.process.exitcode))
            return
        if run is None:
            return
        if isinstance(message, Ended):
            worker.run = None
        self._ledger.handle(run, message)
        if isinstance(message, Ended) and message.last:
            self._join(worker)

    def _join(self, worker: _Worker) -> None:
        """Wait for a process that ends."""
        worker.connection.close()
        worker.process.join()
        self._workers.remove(worker)


def _how(code: int | None) -> str:
    """How a process died, by its exit code."""
    return f"killed by {signal.Signals(-code).name}" if code and code < 0 else "ended early"
