"""The ledger of a sweep; messages and deaths of processes: test_sweep_launcher.py."""

from __future__ import annotations

import io
from collections import deque
from pathlib import Path

import pytest
from rich.console import Console

from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.sweeps.sweep_ledger import RESUMES, Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_worker import Ended, Job
from cl_prompts.experiments.tracking.progress import Display


def ledger_of(*texts: str, out: Path | None = None) -> tuple[Ledger, list[SweptRun], io.StringIO]:
    """A ledger, its runs, labelled by number, and the lines that it prints."""
    settings = plan("digits", list(texts))
    runs = [SweptRun(n, f"run {n}", run, out and out / str(n)) for n, run in enumerate(settings, 1)]
    file = io.StringIO()
    display = Display(Console(file=file, width=200), len(runs), clock=lambda: 0.0)
    return Ledger(runs, display, lambda run: Job(run.planned, "", [])), runs, file


def test_a_run_without_folder_is_missing() -> None:
    _, (run,), _ = ledger_of("strategy=ncm", "seed=1")
    assert run.planned.state == "missing"
    run.folder = Path("nowhere")
    assert run.planned.state == "missing"


@pytest.mark.parametrize("kind", ["ended", "dead"])
def test_a_stop_begins_nothing_more_and_is_no_failure(kind: str) -> None:
    ledger, (first, _), file = ledger_of("strategy=ncm", "seed=1-2")
    begun, job = ledger.begin()
    assert begun is first
    assert job.run == first.planned
    ledger.stop(15)
    assert not ledger.waiting
    if kind == "ended":
        ledger.handle(begun, Ended("stopped by signal 15", stopped=True))
    else:
        ledger.requeue_or_fail(begun, "killed by SIGKILL")
    assert not ledger.under_way
    assert first.fault is None
    assert file.getvalue() == "run 1 of 2, run 1, stopped\n"


def test_a_trace_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    ledger, _, _ = ledger_of("strategy=ncm", "seed=1")
    begun, _ = ledger.begin()
    ledger.handle(begun, Ended("an Error", "Traceback:\n\tan Error: \x1b[31m"))
    assert capsys.readouterr().err == "Traceback:\n\tan Error: \\x1b[31m\n"


def test_a_run_that_was_stopped_alone_goes_on_twice() -> None:
    ledger, (run,), file = ledger_of("strategy=ncm", "seed=1")
    for _ in range(RESUMES + 1):
        assert run.fault is None
        begun, _ = ledger.begin()
        ledger.handle(begun, Ended("stopped by signal 15", stopped=True))
    assert not ledger.waiting
    assert run.fault == "its process was stopped by signal 15, at attempt 3"
    assert file.getvalue().count("and the run goes on in another one") == RESUMES


def test_a_run_whose_process_died_when_it_was_finished_is_finished(
    probe_run: Path,
) -> None:
    ledger, (run,), file = ledger_of("strategy=ncm", "seed=1")
    begun, _ = ledger.begin()
    begun.folder = probe_run
    ledger.requeue_or_fail(begun, "killed by SIGKILL")
    assert (run.fault, run.kills, ledger.waiting) == (None, 0, deque())
    assert "run 1 of 1, run 1, finished" in file.getvalue()
