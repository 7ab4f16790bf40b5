"""Executors: jobs, dead workers, and equal numbers everywhere."""

import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cl_prompts.errors import RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.executors import launching, submissions
from cl_prompts.experiments.executors.launching import Launching, Processes, SlurmJobs, executor_of
from cl_prompts.experiments.executors.signals import Interrupted
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder.plans import PlannedRun
from cl_prompts.experiments.runner import running
from cl_prompts.experiments.runner.running import RunJob
from cl_prompts.experiments.tracking.progress import Display
from tests.experiments.commands import QUICK, summary
from tests.experiments.fates import FATED, FATES
from tests.experiments.test_stops import same_run
from tests.refusals import check_refusals

Does = Callable[[RunJob], BaseException | None]


def test_refusals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(library: str, kind: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            executor_of(Launching(kind), "cpu", tmp_path, 1)

    cases: dict[str, Callable[[], object]] = {
        "cpus here": lambda: Launching(cpus=2),
        "half a gpu of slurm": lambda: Launching("slurm", gpus=0.5),
        "no ray": lambda: missing("ray", "ray"),
        "no submitit": lambda: missing("submitit", "slurm"),
    }
    check_refusals(Path(__file__).with_name("refusals.txt"), cases)


@pytest.mark.parametrize(
    ("device", "there", "gpus"),
    [("auto", True, 1), ("auto", False, 0), ("cuda:0", False, 1), ("cpu", True, 0)],
)
def test_a_run_asks_for_a_gpu_where_its_device_does(device: str, there: bool, gpus: int) -> None:
    assert Launching("ray").gpus_on(device, there=there) == gpus
    assert Launching("ray", gpus=0.25).gpus_on(device, there=there) == 0.25


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
    monkeypatch.setattr(running, "cores", lambda: cores)
    runs = [PlannedRun(tmp_path, run) for run in plan("digits", ["strategy=ncm", *texts])]
    assert running.processes(jobs, runs) == number


class Pretended:
    """An executor in which each submission does what a list says."""

    def __init__(self, does: list[Does]) -> None:
        self.does = does

    def submit(self, function: Any, job: RunJob) -> Future[None]:
        future: Future[None] = Future()
        error = self.does.pop(0)(job)
        future.set_exception(error) if error else future.set_result(None)
        return future

    def stop(self, submitted: Any) -> None:
        pass

    def close(self) -> None:
        pass


def finishes(job: RunJob) -> None:
    write(job, "finished")


def write(job: RunJob, status: str) -> None:
    job.run.folder.mkdir(parents=True, exist_ok=True)
    (job.run.folder / "config.yaml").touch()
    text = f'{{"status": "{status}", "seconds": 7, "results": {{"a_auc": 0.5}}}}'
    (job.run.folder / "summary.json").write_text(text)


def dies(job: RunJob) -> BaseException:
    write(job, "running")
    return BrokenProcessPool("a process ended")


def is_stopped(job: RunJob) -> None:
    write(job, "interrupted")


def ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: list[Does], n: int = 2
) -> tuple[Pretended, dict[str, Any], list[str]]:
    """The executor, fault of each run by its label, and the lines that were shown."""
    runs = plan("digits", ["strategy=ncm", f"seed=1-{n}"])
    executor = Pretended(does)
    monkeypatch.setattr(submissions, "executor_of", lambda *how: executor)
    planned = [PlannedRun(tmp_path / str(run.seed), run) for run in runs]
    file = io.StringIO()
    console = Console(file=file, width=200)
    begun = running.Runs(planned, console, how=Launching("ray"))
    found = {job.label: fault for job, fault in begun.ends(Display(console, n))}
    return executor, found, file.getvalue().splitlines()


def test_a_run_whose_worker_died_is_submitted_again_and_one_that_fails_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = RunError("the disk is full")
    _, found, lines = ended(tmp_path, monkeypatch, [dies, lambda job: fault, finishes])
    assert found == {"ncm seed 1": None, "ncm seed 2": fault}
    assert lines == [
        "run 1 of 2, ncm seed 1, its process ended: it resumes in another one",
        "run 2 of 2, ncm seed 2, failed: the disk is full",
        "run 1 of 2, ncm seed 1, finished after 7 s, A_AUC 50.0",
    ]


def test_only_deaths_of_a_run_itself_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_dies(job: RunJob) -> BaseException | None:
        return dies(job) if job.number == 1 else is_stopped(job)

    executor, found, _ = ended(tmp_path, monkeypatch, [*[first_dies] * 6, finishes])
    assert isinstance(found["ncm seed 1"], RunError)
    assert str(found["ncm seed 1"]) == "its process died 3 times"
    assert found["ncm seed 2"] is None
    assert not executor.does


def test_a_signal_stops_running_jobs_and_starts_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signals(job: RunJob) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        is_stopped(job)

    with pytest.raises(Interrupted) as stop:
        ended(tmp_path, monkeypatch, [signals, is_stopped, finishes], 2)
    assert stop.value.number == signal.SIGTERM


def test_a_run_that_fails_does_not_stop_the_others_of_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Pretended([lambda job: RunError("the disk is full"), finishes])
    monkeypatch.setattr(submissions, "executor_of", lambda *how: executor)
    console = Console(file=io.StringIO())
    planned = plan("digits", ["strategy=ncm", "seed=1-2"])
    runs = running.new_runs(planned, out=tmp_path, console=console, command="", jobs=2)
    runs.execute()
    with pytest.raises(RunError, match=r"1 of 2 runs failed\. To retry them: cl-prompts run --re"):
        runs.conclude()
    assert not executor.does


@pytest.fixture
def fates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fates"
    folder.mkdir()
    monkeypatch.setenv(FATES, str(folder))
    return folder


def made(out: Path) -> list[Path]:
    return sorted(file.parent for file in out.rglob("config.yaml"))


@pytest.mark.slow
def test_a_new_process_works() -> None:
    pool = Processes(1, threads=1)
    assert pool.submit(os.getpid).result() not in (None, os.getpid())
    pool.close()


@pytest.mark.slow
def test_a_killed_process_changes_no_number(
    tmp_path: Path, fates: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two processes is killed in the middle of a run, and the runs of both continue."""
    # Forks have imported everything.
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: fork)
    settings = ["digits", f"strategy={FATED}", "seed=1-2", *QUICK, "checkpoint_every=32"]
    assert main(["run", *settings, "--jobs", "1", "--out", str(tmp_path / "one")]) == 0
    (fates / "2").write_text("killed")
    assert main(["sweep", *settings, "--jobs", "2", "--out", str(tmp_path / "two")]) == 0
    assert "seed 2, its process ended: it resumes" in capsys.readouterr().out
    for whole, cut in zip(made(tmp_path / "one"), made(tmp_path / "two"), strict=True):
        same_run(whole, cut)


@pytest.mark.slow
def test_jobs_of_submitit_write_what_a_run_here_writes(
    tmp_path: Path, fates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    folders: list[Path] = []

    def local(how: Launching, device: str, out: Path) -> SlurmJobs:
        jobs = SlurmJobs(how, device, out, "local")
        folders.append(jobs._executor.folder)
        return jobs

    monkeypatch.setattr(launching, "SlurmJobs", local)
    settings = ["digits", f"strategy={FATED}", "seed=1", *QUICK]
    assert main(["sweep", *settings, "--out", str(tmp_path / "here")]) == 0
    assert main(["sweep", *settings, "--executor", "slurm", "--out", str(tmp_path / "jobs")]) == 0
    same_run(*made(tmp_path / "here"), *made(tmp_path / "jobs"))
    # Nobody else may plant a pickle there.
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700]
    assert folders[0].parent == tmp_path / "jobs" / "slurm"


def test_a_failed_run_is_reported_with_the_fault_of_its_folder(
    tmp_path: Path, fates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failed run does not stop others; the same command tries it again."""
    (fates / "1").write_text("fails")
    (fates / "2").write_text("breaks")
    command = ["sweep", "digits", f"strategy={FATED}", "seed=1-3", *QUICK, "--out", str(tmp_path)]
    assert main(command) == 1
    told = capsys.readouterr()
    assert "3 runs: 3 missing" in told.out
    assert "run 3 of 3, Fated seed 3, finished after" in told.out
    errors = told.err.splitlines()
    assert "ZeroDivisionError: nobody foresaw this" in errors
    assert "failed: Fated seed 2: ZeroDivisionError: nobody foresaw this" in errors
    assert errors[-1] == "cl-prompts: 2 of 3 runs failed. To retry them: repeat the command"
    states = [summary(folder)["status"] for folder in made(tmp_path)]
    assert states == ["failed", "failed", "finished"]
    (fates / "1").unlink()
    assert main([*command, "--quiet"]) == 0
    assert len(made(tmp_path)) == 3


def test_a_stopped_sweep_is_continued_by_the_same_command(
    tmp_path: Path, fates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["digits", f"strategy={FATED}", "seed=1-2", *QUICK]
    (fates / "1").write_text("is stopped")
    command = ["sweep", *settings, "--out", str(tmp_path / "cut")]
    assert main(command) == 143
    assert capsys.readouterr().err.endswith("cl-prompts: stopped: the same command continues\n")
    assert [summary(folder)["status"] for folder in made(tmp_path / "cut")] == ["interrupted"]
    assert main(command) == 0
    assert "2 runs: 1 unfinished, 1 missing" in capsys.readouterr().out
    assert main(["run", *settings, "--out", str(tmp_path / "whole")]) == 0
    for first, second in zip(made(tmp_path / "whole"), made(tmp_path / "cut"), strict=True):
        same_run(first, second)
