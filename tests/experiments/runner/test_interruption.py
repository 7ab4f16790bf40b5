"""Signals ask for an end once, and act the second time."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.cli.actions import ACTIONS
from cl_prompts.experiments.runner.interruption import (
    SIGNALS,
    Stopped,
    end_undisturbed,
    raise_if_stopped,
    stop_requests,
    stop_says,
    stops_at_once,
)
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


def me(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_of_training_a_signal_stops_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    # One inside the other, as in a process of the command line.
    with pytest.raises(Stopped) as stop, stops_at_once(), stops_at_once():
        me(number)
    assert str(stop.value) == f"stopped by {number.name}"
    assert stop.value.exit_code == 128 + number
    assert signal.getsignal(number) == before


def test_a_second_signal_kills() -> None:
    def work() -> int:
        try:
            with stops_at_once():
                me(signal.SIGTERM)
        except Stopped:
            return 1
        return 0

    def twice() -> int:
        with stops_at_once():
            try:
                me(signal.SIGTERM)
            except Stopped:
                me(signal.SIGTERM)
        return 0

    assert forked(work).code == 1
    assert forked(twice).code == -signal.SIGTERM


def test_loader_processes_do_not_raise_what_is_for_the_command() -> None:
    def work() -> int:
        me(signal.SIGTERM)
        return 0

    with stops_at_once():
        assert forked(work).code == -signal.SIGTERM


def test_a_stop_that_a_library_caught_is_a_request_in_training() -> None:
    with stops_at_once():
        with contextlib.suppress(BaseException):
            me(signal.SIGHUP)
        with stop_requests() as request, pytest.raises(Stopped) as stop:
            request.obey()
    assert stop.value.number == signal.SIGHUP


def test_nobody_asked_for_an_end() -> None:
    with stop_requests() as request:
        request.obey()


def test_the_first_sentence_on_how_to_go_on_is_the_one() -> None:
    with pytest.raises(Stopped) as stop, stop_says("outer"), stop_says("inner"):
        raise Stopped(number=signal.SIGTERM)
    assert (str(stop.value), stop.value.number) == ("inner", signal.SIGTERM)
    with pytest.raises(Stopped) as stop, stop_says(lambda: "of Ctrl-C"):
        raise KeyboardInterrupt
    assert (str(stop.value), stop.value.number) == ("of Ctrl-C", signal.SIGINT)


def test_a_command_that_is_done_ends_with_its_code() -> None:
    def once() -> int:
        end_undisturbed()
        me(signal.SIGTERM)
        return 3

    def twice() -> int:
        once()
        me(signal.SIGTERM)
        return 3

    assert forked(once).code == 3
    assert forked(twice).code == -signal.SIGTERM


def test_a_stop_that_a_library_turns_into_another_error_is_a_stop() -> None:
    turned = ValueError("it cannot be read")
    with stops_at_once():
        with contextlib.suppress(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match="SIGTERM"):
            raise_if_stopped(turned)


def test_a_stop_that_was_swallowed_ends_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def swallowing(args: Any) -> None:
        with contextlib.suppress(Stopped):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setitem(ACTIONS, "ls", swallowing)
    assert main(["ls"]) == 143
    assert capsys.readouterr().err == "cl-prompts: stopped by SIGTERM\n"
