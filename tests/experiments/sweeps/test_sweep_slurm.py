"""Runs as jobs of submitit, whose local jobs stand for those of Slurm."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.experiments.sweeps import sweep_slurm
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_slurm import SlurmLauncher, execute_in_job
from cl_prompts.experiments.sweeps.sweep_worker import THREADS, Ended, Job
from tests.experiments.commands import QUICK, summary
from tests.experiments.fates import AT, FATES
from tests.experiments.sweeps.test_sweep import FATED
from tests.experiments.sweeps.test_sweep_ledger import ledger_of

needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="submitit is not installed: pip install submitit"
)


def fated_ledger(out: Path) -> tuple[Ledger, list[SweptRun], io.StringIO]:
    return ledger_of(f"strategy={FATED}", "seed=1-2", *QUICK, "checkpoint_every=32", out=out)


@needs_submitit
def test_without_slurm_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="this machine has no srun"):
        SlurmLauncher(fated_ledger(tmp_path)[0], Launching("slurm"), tmp_path)


@needs_submitit
def test_results_that_lie_below_the_folder_are_none_of_its_jobs(tmp_path: Path) -> None:
    """Submitit executes the file of a job's result, which is called by its number."""
    ledger, *_ = fated_ledger(tmp_path)
    launchers = [SlurmLauncher(ledger, Launching("slurm"), tmp_path, "local") for _ in range(2)]
    folders = {launcher._executor.folder for launcher in launchers}
    assert len(folders) == 2
    assert {folder.parent for folder in folders} == {tmp_path / "slurm"}


@needs_submitit
def test_a_refused_job_is_a_run_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("srun", "sbatch"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: gpuu' >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    ledger, runs, _ = fated_ledger(tmp_path / "runs")
    SlurmLauncher(ledger, Launching("slurm"), tmp_path).execute()
    assert not ledger.under_way
    for run in runs:
        assert (run.fault or "").startswith("sbatch refused its job:")
        assert "invalid partition: gpuu" in (run.fault or "")


@needs_submitit
@pytest.mark.slow
def test_jobs_end_fail_and_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fates = tmp_path / "fates"
    fates.mkdir()
    monkeypatch.setenv(FATES, str(fates))
    (fates / "1").write_text("fails")
    (fates / "2").write_text("killed")
    # Seconds in which a slow file system may bring the result of a job that is gone.
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)
    ledger, runs, file = fated_ledger(tmp_path)
    how = Launching("slurm", jobs=2)
    SlurmLauncher(ledger, how, tmp_path, cluster="local").execute()
    lines = file.getvalue().splitlines()
    assert (runs[0].fault or "").startswith("the disk is full")
    assert any("run 2, its process was lost" in line for line in lines)
    assert "run 2 of 2, run 2, finished" in lines
    assert [summary(tmp_path / str(n))["status"] for n in (1, 2)] == ["failed", "finished"]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Handlers of signals as they were."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def given_up(number: int, frame: object) -> None:
    """Do what submitit does with a job that cannot be queued anew."""
    raise RuntimeError("job not requeued")


@pytest.mark.slow
@pytest.mark.usefixtures("handlers")
def test_the_warning_before_the_time_limit_stops_a_run_that_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in THREADS:
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv(FATES, str(tmp_path))
    (tmp_path / "1").write_text("meets its time limit")
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, given_up)
    ledger, (run, _), _ = fated_ledger(tmp_path / "runs")
    _, job = ledger.begin()
    threads = torch.get_num_threads()
    ended = execute_in_job(job, threads, str(Path.cwd()))
    assert ended == Ended("stopped by signal 15", stopped=True)
    assert AT <= summary(run.planned.folder)["samples_seen"] < AT + 32
    assert execute_in_job(job, threads, str(Path.cwd())) == Ended()
    assert summary(run.planned.folder)["status"] == "finished"


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("name", ["USR1", "TERM"])
def test_another_signal_may_be_the_warning(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", name)
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))

    def executed(*job: object) -> Ended:
        signal.raise_signal(signal.Signals[f"SIG{name}"])
        return Ended()

    monkeypatch.setattr(sweep_slurm, "execute_elsewhere", executed)
    _, (run, _), _ = fated_ledger(tmp_path)
    assert execute_in_job(Job(run.planned, "", []), 1, str(tmp_path)) == Ended()
    assert heard == [signal.SIGTERM]
