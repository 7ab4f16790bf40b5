"""Stop a command on a signal.

While a run trains, it finishes the present step and saves its state. At any other time Ctrl-C
raises a ``KeyboardInterrupt`` that says how to continue.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A command stopped by a signal.

    Args:
        sentence: how to continue; empty if unknown.
        number: number of the signal.

    >>> str(Interrupted(number=signal.SIGTERM))
    'stopped by SIGTERM'
    """

    def __init__(self, sentence: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(sentence or f"stopped by {signal.Signals(number).name}")
        self.sentence = sentence
        self.number = int(number)


@contextmanager
def stop_says(sentence: str | Callable[[], str]) -> Iterator[None]:
    """Add a sentence on how to continue to a stop without one."""
    try:
        yield
    except KeyboardInterrupt as error:
        if getattr(error, "sentence", str(error)):
            raise
        words = sentence if isinstance(sentence, str) else sentence()
        raise Interrupted(words, getattr(error, "number", signal.SIGINT)) from error


@dataclass
class StopRequest:
    """Request of a signal to stop.

    Attributes:
        number: number of the signal; None before a signal.
    """

    number: int | None = None

    def obey(self) -> None:
        """Raise ``Interrupted`` if a signal came."""
        if self.number is not None:
            raise Interrupted(number=self.number)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into a request; a second Ctrl-C acts at once.

    Ignored signals, such as SIGHUP under ``nohup``, remain ignored. Outside of the main thread
    this does nothing, because signals cannot be handled there.
    """
    request = StopRequest()
    process = os.getpid()
    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in SIGNALS if in_main_thread}
    # None means a handler installed from C.
    handled = {n: h for n, h in handlers.items() if h is not None and h is not signal.SIG_IGN}

    def note(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a loader process, which inherits the handler
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        request.number = number
        if signal.SIGINT in handled:
            signal.signal(signal.SIGINT, handled[signal.SIGINT])

    for number in handled:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, earlier in handled.items():
            signal.signal(number, earlier)
