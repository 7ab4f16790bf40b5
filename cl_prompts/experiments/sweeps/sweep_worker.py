"""The process of a sweep that executes runs, one after the other, and tells how they go."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from cl_prompts.experiments.runner.libraries import quieten_libraries

if TYPE_CHECKING:
    from cl_prompts.experiments.run_folder.plans import PlannedRun
    from cl_prompts.experiments.runner.building import Builder

#: variables that numeric libraries read when they are loaded
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_SECONDS_PER_MESSAGE = 0.25


@dataclass(frozen=True)
class Job:
    """A run to execute.

    Attributes:
        run: that run.
        command: what was typed to make it.
        varied: settings in which the runs of that command differ.
    """

    run: PlannedRun
    command: str
    varied: Sequence[str]


@dataclass(frozen=True)
class Advanced:
    """Progress of the run: :meth:`~cl_prompts.experiments.tracking.progress.Watcher.advance`."""

    samples: int
    total: int
    a_auc: float | None


@dataclass(frozen=True)
class Noted:
    """A remark on the run."""

    sentence: str


@dataclass(frozen=True)
class Ended:
    """The end of the run.

    Attributes:
        fault: why it failed; None if it is finished.
        traceback: of a fault that nobody foresaw.
        stopped: a signal ended it.
    """

    fault: str | None = None
    traceback: str = ""
    stopped: bool = False

    @property
    def last(self) -> bool:
        """Whether the process ends: what broke the run may have broken it, too."""
        return self.stopped or bool(self.traceback)


Message = Advanced | Noted | Ended


def work(connection: Connection, threads: int | None) -> None:
    """Execute runs until None comes in their place; the main function of a process.

    Where the sweep dies, its end of the connection closes: a run under way is stopped as by
    SIGTERM, with its state saved.

    Args:
        connection: brings jobs, and takes messages.
        threads: of this process; None for as many as it wants.
    """
    os.setsid()  # Ctrl-C is for the sweep, which stops its processes itself
    if threads is not None:
        os.environ.update(dict.fromkeys(THREADS, str(threads)))
    quieten_libraries()
    import torch

    from cl_prompts.experiments.runner.building import Builder

    if threads is not None:
        torch.set_num_threads(threads)
    jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, jobs), daemon=True).start()
    builder = Builder()

    def send(message: Message) -> None:
        # A sweep that died hears nothing: _receive, which learns of it, stops the run.
        with contextlib.suppress(BrokenPipeError):
            connection.send(message)

    while (job := jobs.get()) is not None:
        ended = _execute(job, builder, _Sender(send))
        send(ended)
        if ended.last:
            return


def execute_elsewhere(
    job: Job, threads: int, home: str, send: Callable[[Message], None] | None = None
) -> Ended:
    """Execute a run in a process that another program began, maybe on another machine.

    Args:
        job: to execute.
        threads: of this process.
        home: folder of the sweep, which relative paths start from.
        send: takes what the run says; None for nobody.
    """
    try:
        os.chdir(home)
    except OSError as error:
        return Ended(
            f"machine {platform.node()} has no folder {home} ({error.strerror}): a sweep on several"
            " machines needs a file system that all of them share"
        )
    if home not in sys.path:
        sys.path.append(home)  # strategies and data sets of one's own
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    quieten_libraries()
    import torch

    from cl_prompts.experiments.runner.building import Builder

    torch.set_num_threads(threads)
    return _execute(job, Builder(), _Sender(send or (lambda message: None)))


def _receive(connection: Connection, jobs: queue.SimpleQueue[Job | None]) -> None:
    """Pass jobs on, until there are no more."""
    job: Job | None
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)
            return
        jobs.put(job)
        if job is None:
            return


def _execute(job: Job, builder: Builder, sender: _Sender) -> Ended:
    """Execute a run; every fault is told to the sweep, which goes on with other runs."""
    from cl_prompts.errors import InputError, RunError
    from cl_prompts.experiments.runner.execution import complete
    from cl_prompts.experiments.runner.interruption import Stopped

    try:
        complete(job.run, builder, sender, job.command, job.varied)
    except (InputError, RunError) as error:
        return Ended(str(error))
    except Stopped as error:
        return Ended(f"stopped by signal {error.number}", stopped=True)
    except Exception as error:
        return Ended(f"{type(error).__name__}: {error}", traceback.format_exc())
    return Ended()


class _Sender:
    """Watcher that sends what it is told to the sweep, progress a few times a second."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._advanced = -math.inf

    def note(self, sentence: str) -> None:
        self._send(Noted(sentence))

    def advance(self, samples: int, total: int, a_auc: float | None) -> None:
        now = time.monotonic()
        if samples >= total or now - self._advanced >= _SECONDS_PER_MESSAGE:
            self._advanced = now
            self._send(Advanced(samples, total, a_auc))
