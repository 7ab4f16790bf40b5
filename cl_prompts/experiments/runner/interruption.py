"""Signals that stop a command: in training the step under way is finished and the state saved, and
at any other time the command ends at once, with a sentence that says how to go on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A command that was stopped by a signal.

    Args:
        sentence: how to continue; empty where that is not known here.
        number: of the signal.

    >>> str(Stopped(number=signal.SIGTERM))
    'stopped by SIGTERM'
    """

    def __init__(self, sentence: str = "", number: int = signal.SIGINT) -> None:
        """Keep the number for the exit code."""
        super().__init__(sentence or f"stopped by {signal.Signals(number).name}")
        self.sentence = sentence
        self.number = int(number)

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, as shells count."""
        return 128 + self.number


@contextmanager
def stop_says(sentence: str | Callable[[], str]) -> Iterator[None]:
    """Give a stop that says nothing yet a sentence on how to continue."""
    try:
        yield
    except KeyboardInterrupt as error:
        if getattr(error, "sentence", str(error)):
            raise
        words = sentence if isinstance(sentence, str) else sentence()
        raise Stopped(words, getattr(error, "number", signal.SIGINT)) from error


def raise_if_stopped(error: Exception | None = None) -> None:
    """Raise the stop that a signal has asked for and a library has turned into another error, as
    those do that read weights, or swallowed, as Python does with an error in a finaliser.

    Raises:
        Stopped: a signal has come.
    """
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if isinstance(handler, _AtOnce) and handler.number is not None:
            raise Stopped(number=handler.number) from error


@dataclass
class StopRequest:
    """Request of a signal for an end.

    Attributes:
        number: of the signal; None for none yet.
    """

    number: int | None = None

    def obey(self) -> None:
        """Stop, if a signal has come that nobody has acted on.

        Raises:
            Stopped: one has.
        """
        if self.number is not None:
            raise Stopped(number=self.number)


class _AtOnce:
    """Handler of signals that raises :class:`Stopped` for the first one."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._process = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._process:  # and not a loader process, which inherits the handler
            first = self.number is None
            self.number = number
            if first:
                raise Stopped(number=number)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


@contextmanager
def stops_at_once() -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP raise :class:`Stopped`, wherever the process is; a
    second one kills it.

    Ignored signals, other threads and a context inside another one change nothing.
    """
    # Where signals are met so already, the outer context stays in charge.
    if any(isinstance(signal.getsignal(number), _AtOnce) for number in SIGNALS):
        yield
        return
    with _handled(_AtOnce()):
        yield


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a request; a second one acts at once.

    A signal that is ignored, as SIGHUP under ``nohup``, stays so. Outside of the main thread, where
    signals cannot be handled, nothing is changed.
    """
    request = StopRequest()
    for number in SIGNALS:
        handler = signal.getsignal(number)
        # Raised where somebody else caught it, as a library may while it is imported.
        if isinstance(handler, _AtOnce) and handler.number is not None:
            request.number = handler.number

    def note(number: int, frame: FrameType | None) -> None:
        request.number = number
        restore()

    with _handled(note) as restore:
        yield request


def end_undisturbed() -> None:
    """Let the next signal pass: the work of this process is done and said, and its exit code says
    how it went."""
    _give(lambda number, frame: signal.signal(number, signal.SIG_DFL))


def ignore_signals() -> None:
    """Let all signals pass from here on, also where Python takes itself apart and gives its own
    handlers up: one that came then would belie the exit code."""
    _give(signal.SIG_IGN)


@contextmanager
def _handled(handler: Any) -> Iterator[Callable[[], None]]:
    """Give the signals to a handler for a while; yield a function that gives them back."""
    before = _give(handler)

    def restore() -> None:
        for number, earlier in before.items():
            signal.signal(number, earlier)

    try:
        yield restore
    finally:
        restore()


def _give(handler: Any) -> dict[signal.Signals, Any]:
    """Give the signals that are not ignored to a handler, and return their earlier ones."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in SIGNALS if in_main_thread}
    # None is a handler of a library in C.
    before = {n: h for n, h in handlers.items() if h is not None and h is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    return before
