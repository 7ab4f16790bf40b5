"""Signals ask for an end while a run trains; a second Ctrl-C acts at once."""

import os
import signal
from collections.abc import Iterator

import pytest

from cl_prompts.experiments.executors.signals import SIGNALS, Interrupted, stop_requests, stop_says
from tests.forked import forked


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


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_request(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_requests() as request:
        request.obey()
        os.kill(os.getpid(), number)
        assert request.number == number
        with pytest.raises(Interrupted) as stop:
            request.obey()
    assert stop.value.number == number
    assert signal.getsignal(number) == before


def test_of_further_signals_ctrl_c_alone_acts_at_once() -> None:
    def stopping() -> None:
        with stop_requests():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()

    with pytest.raises(KeyboardInterrupt):
        stopping()


def test_loader_processes_are_killed_by_their_signals() -> None:
    def work() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    with stop_requests() as request:
        assert forked(work).code == -signal.SIGTERM
        assert request.number is None


def test_the_first_advice_on_continuing_is_printed() -> None:
    with pytest.raises(Interrupted) as stop, stop_says("outer"), stop_says("inner"):
        raise Interrupted(number=signal.SIGTERM)
    assert (str(stop.value), stop.value.number) == ("inner", signal.SIGTERM)
    with pytest.raises(Interrupted) as stop, stop_says(lambda: "of Ctrl-C"):
        raise KeyboardInterrupt
    assert (str(stop.value), stop.value.number) == ("of Ctrl-C", signal.SIGINT)
