"""Messages and deaths of the processes of a sweep; whole sweeps: test_sweep.py."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.experiments.sweeps import sweep_launcher
from cl_prompts.experiments.sweeps.sweep_launcher import Launcher
from cl_prompts.experiments.sweeps.sweep_ledger import SweptRun
from cl_prompts.experiments.sweeps.sweep_worker import Advanced, Ended, Job, Message, Noted
from tests.experiments.sweeps.test_sweep_ledger import ledger_of

Script = list[Message | None]


class Pretended:
    """A process and its connection, which answer each job by a script; None is a kill."""

    pid = 0

    def __init__(self, scripts: list[Script], begun: list[int | None]) -> None:
        self.scripts = scripts
        self.begun = begun
        self.connection = self
        self.process = self
        self.run: SweptRun | None = None
        self.left: Script = []
        self.exitcode = -9

    def start(self, threads: int | None) -> Pretended:
        fresh = Pretended(self.scripts, self.begun)
        self.begun.append(threads)
        return fresh

    def send(self, job: Job | None) -> None:
        self.left = [] if job is None else self.scripts.pop(0)

    def recv(self) -> Message:
        message = self.left.pop(0)
        if message is None:
            raise EOFError
        return message

    def join(self) -> None:
        assert not self.left

    def close(self) -> None:
        assert not self.left


def launched(
    scripts: list[Script], n_runs: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[SweptRun], list[str], list[int | None]]:
    """Runs, lines written, and the threads of each process."""
    begun: list[int | None] = []
    monkeypatch.setattr(sweep_launcher, "_Worker", Pretended(scripts, begun))
    monkeypatch.setattr(sweep_launcher, "wait", lambda among, timeout: [c for c in among if c.left])
    ledger, runs, file = ledger_of("strategy=ncm", f"seed=1-{n_runs}")
    Launcher(ledger, jobs).execute()
    assert ledger.stopped is None
    return runs, file.getvalue().splitlines(), begun


def test_a_killed_process_is_replaced_and_its_run_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripts: list[Script] = [
        [Advanced(0, 10, None), None],
        [Noted("goes on"), Advanced(10, 10, 0.5), Ended()],
        [Ended()],
    ]
    runs, lines, begun = launched(scripts, 2, 1, monkeypatch)
    assert [run.fault for run in runs] == [None, None]
    assert lines == [
        "run 1 of 2, run 1, its process was killed by SIGKILL, and the run goes on in another one",
        "note: run 1: goes on",
        "run 1 of 2, run 1, finished after 0 s, A_AUC 50.0",
        "run 2 of 2, run 2, finished",
    ]
    assert begun == [None, None]


def test_a_run_whose_process_dies_three_times_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, lines, _ = launched([[None], [None], [None], [Ended()]], 2, 1, monkeypatch)
    assert runs[0].fault == "its process was killed by SIGKILL, at attempt 3"
    assert runs[1].fault is None
    assert lines[-2:] == [
        "run 1 of 2, run 1, failed: its process was killed by SIGKILL, at attempt 3",
        "run 2 of 2, run 2, finished",
    ]


def test_a_process_goes_on_after_a_fault_that_was_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts: list[Script] = [[Ended("the disk is full")], [Ended("X: y", "Traceback")], [Ended()]]
    runs, _, begun = launched(scripts, 3, 1, monkeypatch)
    assert [run.fault for run in runs] == ["the disk is full", "X: y", None]
    assert len(begun) == 2


def test_threads_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    _, _, begun = launched([[Ended()] for _ in range(5)], 5, 3, monkeypatch)
    assert begun == [2, 2, 2]
    _, _, begun = launched([[Ended()]], 1, 3, monkeypatch)
    assert begun == [None]
