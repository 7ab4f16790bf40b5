"""Runs of a plan in processes: how many, what a fault and a signal do, and the same numbers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from cl_prompts.errors import RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.run_folder.plans import Plan, PlannedRun
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.execution import complete
from cl_prompts.experiments.runner.interruption import Stopped
from cl_prompts.experiments.sweeps import plan_launcher
from cl_prompts.experiments.sweeps.plan_launcher import in_processes, processes
from cl_prompts.experiments.sweeps.sweep_launcher import forked
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger
from cl_prompts.experiments.sweeps.sweep_worker import Ended
from tests.experiments.commands import QUICK


def planned(above: Path, *texts: str) -> Plan:
    runs = plan("digits", ["strategy=ncm", *texts])
    named = [PlannedRun(above / f"{run.seed}", run) for run in runs]
    return Plan("cl-prompts run digits", tuple(named))


@pytest.mark.parametrize(
    ("jobs", "texts", "cores", "number"),
    [
        (None, ("seed=1-12",), 2, 2),
        (None, ("seed=1-12",), 64, 3),  # four runs each
        (None, ("seed=1-7",), 64, 1),
        (None, ("seed=1-12", "num_workers=2"), 64, 1),
        (None, ("seed=1-12", "backbone=vit_small_patch16_224"), 64, 1),
        (3, ("seed=1-12", "backbone=vit_small_patch16_224"), 2, 3),
        (3, ("seed=1-2",), 2, 2),
    ],
)
def test_processes_are_as_many_as_runs_and_cores_allow(
    jobs: int | None,
    texts: tuple[str, ...],
    cores: int,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(plan_launcher, "cores", lambda: cores)
    assert processes(jobs, planned(tmp_path, *texts).runs) == number


def _launcher(after: Callable[[Ledger, Any], None]) -> Any:
    """A launcher that executes nothing; each run ends as ``after`` says."""

    class Pretended:
        jobs = 2

        def __init__(self, ledger: Ledger, *given: Any) -> None:
            self.ledger = ledger

        def execute(self) -> None:
            while self.ledger.waiting:
                run, _ = self.ledger.begin()
                after(self.ledger, run)

    return Pretended


def _ended(
    after: Callable[[Ledger, Any], None], above: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], BaseException]:
    monkeypatch.setattr(plan_launcher, "Launcher", _launcher(after))
    monkeypatch.setattr(plan_launcher, "forked", lambda number: nullcontext([]))
    file = StringIO()
    folders = in_processes(2, planned(above, "seed=1-3"), Console(file=file, width=200))
    assert folders is not None
    with pytest.raises((RunError, Stopped)) as error:
        list(folders)
    return file.getvalue().splitlines(), error.value


def test_after_a_fault_no_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def after(ledger: Ledger, run: Any) -> None:
        ledger.handle(run, Ended("the disk is full" if run.number == 2 else None))

    lines, error = _ended(after, tmp_path, monkeypatch)
    assert lines == [
        "run 1 of 3, ncm seed 1, finished",
        "run 2 of 3, ncm seed 2, failed: the disk is full",
    ]
    assert str(error) == "the disk is full"


def test_a_signal_stops_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def after(ledger: Ledger, run: Any) -> None:
        ledger.stop(signal.SIGTERM)
        ledger.handle(run, Ended("stopped by signal 15", stopped=True))

    lines, error = _ended(after, tmp_path, monkeypatch)
    assert lines == ["run 1 of 3, ncm seed 1, stopped"]
    assert isinstance(error, Stopped)
    assert error.number == signal.SIGTERM


def test_a_forked_process_ends_with_the_sweep_though_others_go_on() -> None:
    with forked(2) as (first, second):
        first.connection.close()
        first.process.join(20)
        assert first.process.exitcode == -signal.SIGTERM
        assert second.process.is_alive()
    second.process.join(20)
    assert second.process.exitcode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("texts", "threads"), [((), 1), (("image_size=64",), 1), (("image_size=96",), 2)]
)
def test_the_embedded_vit_takes_one_thread(
    texts: tuple[str, ...], threads: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    monkeypatch.setattr(Builder, "build", lambda *given: [][0])
    (run,) = planned(tmp_path, "seed=1", *texts).runs
    with pytest.raises(IndexError):
        complete(run, Builder(), Console(), "a command")
    assert found == [1, 2][threads - 1 :]


@pytest.mark.slow
def test_two_processes_write_what_one_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "digits", "strategy=linear_probe,ranpac", "ranpac.projection=20", *QUICK]
    for jobs in ("1", "2"):
        assert main([*command, "seed=1", "--jobs", jobs, "--out", str(tmp_path / jobs)]) == 0
    said = capsys.readouterr().out
    assert said.count("run 2 of 2, ranpac seed 1, finished") == 2
    one, two = (sorted((tmp_path / jobs).glob("*/*/*/")) for jobs in ("1", "2"))
    assert len(one) == len(two) == 2
    for before, now in zip(one, two, strict=True):
        for name in ("metrics.csv", "learned.safetensors"):
            assert (before / name).read_bytes() == (now / name).read_bytes()
