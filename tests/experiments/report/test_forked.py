"""Work that is divided among processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from cl_prompts.experiments.report import forked
from cl_prompts.experiments.report.forked import each_of


@pytest.fixture(autouse=True)
def three_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("no fork here")
    monkeypatch.setattr(forked.threading, "active_count", lambda: 1)  # pytest-xdist has threads
    monkeypatch.setattr(forked.os, "sched_getaffinity", lambda process: {0, 1, 2})


def test_items_are_shared_out_and_results_keep_their_order() -> None:
    found = each_of(range(8), lambda item: (item, os.getpid()))
    assert [item for item, _ in found] == list(range(8))
    assert len({process for _, process in found}) == 3
    assert each_of([], str) == []


def test_a_killed_process_leaves_its_share_to_this_one() -> None:
    here = os.getpid()

    def work(item: int) -> int:
        if item == 4 and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item

    assert each_of(range(6), work) == [0, 1, 4, 9, 16, 25]


def test_where_no_process_can_begin_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    assert set(each_of(range(4), lambda _: os.getpid())) == {os.getpid()}


def test_no_process_outlives_its_caller(tmp_path: Path) -> None:
    def work(item: int) -> None:
        if item == 0:
            raise KeyboardInterrupt
        time.sleep(0.5)
        (tmp_path / "late").touch()

    with pytest.raises(KeyboardInterrupt):
        each_of(range(2), work)
    assert not multiprocessing.active_children()
    assert not (tmp_path / "late").exists()


def test_a_process_that_may_have_no_children_does_all_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    assert set(each_of(range(4), lambda _: os.getpid())) == {os.getpid()}


def test_an_error_is_met_here(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        each_of([1, 2, 0], lambda item: 1 // item)
    assert capfd.readouterr().err == ""


def test_beside_threads_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    waits = threading.Event()
    other = threading.Thread(target=waits.wait)
    other.start()
    try:
        assert set(each_of(range(4), lambda _: os.getpid())) == {os.getpid()}
    finally:
        waits.set()
        other.join()
