"""Execution of runs in a process of a sweep, and the messages that it sends.

Importing this module loads nothing heavy: a process that only holds messages does so, too.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import platform
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

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
        command: that makes it, as typed.
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
        """Whether the process ends: an unforeseen fault may have broken it, too."""
        return self.stopped or bool(self.traceback)


Message = Advanced | Noted | Ended


class MessageQueue:
    """Actor of Ray that holds the messages of runs until the sweep asks for them.

    >>> messages = MessageQueue()
    >>> messages.put(1, Noted("goes on"))
    >>> messages.take(), messages.take()
    ([(1, Noted(sentence='goes on'))], [])
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: list[tuple[int, Message]] = []

    def put(self, number: int, message: Message) -> None:
        """Add a message of the run of a number."""
        self._held.append((number, message))

    def take(self) -> list[tuple[int, Message]]:
        """All messages since the last time, in order."""
        held = self._held
        self._held = []
        return held


def work(
    connection: Connection,
    threads: int | None,
    inherited: Sequence[Connection] = (),
) -> None:
    """Execute runs until None comes in their place; the main function of a process.

    Where the sweep dies, its end of the connection closes: a run under way is stopped as by
    SIGTERM, with its state saved.

    Args:
        connection: brings jobs, and takes messages.
        threads: of this process; None for as many as it wants.
        inherited: ends of the sweep's connections in a forked process.
    """
    os.setsid()  # Ctrl-C is for the sweep, which stops its processes itself
    # While such an end is open here, the death of the sweep would go unnoticed.
    for end in inherited:
        end.close()
    builder = _builder(threads)
    # The half a million objects of libraries are no garbage: collections pass over them.
    gc.freeze()
    jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    # A daemon, since it may wait for a further job when the process ends.
    threading.Thread(target=_receive, args=(connection, jobs), daemon=True).start()

    def send(message: Message) -> None:
        # After the death of the sweep, _receive stops the run.
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
        send: takes the messages of the run; None to drop them.
    """
    try:
        os.chdir(home)
    except OSError as error:
        return Ended(
            f"machine {platform.node()} has no folder {home} ({error.strerror}): a sweep on several"
            " machines needs a file system that all of them share"
        )
    return _execute(job, _builder(threads), _Sender(send or (lambda message: None)))


def _builder(threads: int | None) -> Builder:
    """Load the numeric libraries with a number of threads."""
    if threads is not None:
        os.environ.update(dict.fromkeys(THREADS, str(threads)))
        # Processes share the cores: a thread that waits leaves its own to them.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from cl_prompts.experiments.runner.building import Builder

    if threads is not None:
        torch.set_num_threads(threads)
    return Builder()


def _receive(connection: Connection, jobs: queue.SimpleQueue[Job | None]) -> None:
    """Pass jobs on, until there are no more."""
    job: Job | None
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            # The parent is gone: the run under way ends as on a signal, with a checkpoint.
            os.kill(os.getpid(), signal.SIGTERM)
            return
        jobs.put(job)
        if job is None:
            return


def _execute(job: Job, builder: Builder, sender: _Sender) -> Ended:
    """Execute a run; every fault becomes its end, and the sweep goes on with other runs."""
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
    """Watcher that sends notes and, a few times a second, progress to the sweep."""

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
