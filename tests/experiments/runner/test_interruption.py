"""Signals ask for an end once, and act the second time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from cl_prompts.experiments.runner.interruption import SIGNALS, Stopped, stop_requests


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """Signals act, also where the tests run behind a shell that ignores Ctrl-C."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGHUP)
        assert request.number is None


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_a_request(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_requests() as request:
        assert request.number is None
        os.kill(os.getpid(), number)
        assert request.number == number
        assert signal.getsignal(number) == before  # a second one acts
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_ends_at_once() -> None:
    def twice() -> None:
        with stop_requests():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()

    with pytest.raises(KeyboardInterrupt):
        twice()


def test_exit_codes_are_those_of_shells() -> None:
    assert [Stopped("", n).exit_code for n in SIGNALS] == [130, 143, 129]
    assert isinstance(Stopped("how to continue"), KeyboardInterrupt)


def test_other_threads_leave_signals_alone() -> None:
    seen = []

    def inside() -> None:
        with stop_requests() as request:
            seen.append((request.number, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [(None, before)]
