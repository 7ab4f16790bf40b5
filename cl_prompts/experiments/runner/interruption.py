"""Signals that stop a run: the step under way is finished and the state saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from cl_prompts.experiments.runner.job import launched

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A run that was stopped by a signal, with its state saved.

    Args:
        sentence: how to continue.
        number: of the signal.
    """

    def __init__(self, sentence: str, number: int = signal.SIGINT) -> None:
        """Keep the number for the exit code."""
        super().__init__(sentence)
        self.number = int(number)

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, as shells count."""
        return 128 + self.number


@dataclass
class StopRequest:
    """Request of a signal for an end.

    Attributes:
        number: of the signal; None for none yet.
    """

    number: int | None = None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a request; a second one acts at once, but not
    in a job of several processes: there ``torchrun`` passes on what the process may have had.

    A signal that is ignored, as SIGHUP under ``nohup``, stays so. Outside of the main thread, where
    signals cannot be handled, nothing is changed.
    """
    request = StopRequest()
    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in SIGNALS if in_main_thread}
    before = {number: h for number, h in handlers.items() if h is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        request.number = number
        # torchrun passes on a signal that its processes may have had from the terminal already.
        if not launched():
            restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
