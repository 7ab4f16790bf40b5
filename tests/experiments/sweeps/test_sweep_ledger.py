"""The ledger of a sweep; what it makes of deaths and words: test_sweep_launcher.py."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.sweeps.sweep_ledger import RESUMES, Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_worker import Ended, Job
from cl_prompts.experiments.tracking.progress import Display


def test_a_run_without_folder_is_missing() -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    assert SweptRun(1, "ncm", settings).planned.state == "missing"
    assert SweptRun(1, "ncm", settings, Path("nowhere")).planned.state == "missing"


@pytest.mark.parametrize("kind", ["ended", "dead"])
def test_a_stop_begins_nothing_more_and_is_no_failure(kind: str) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    first, second = (SweptRun(n, f"run {n}", settings) for n in (1, 2))
    file = io.StringIO()
    display = Display(Console(file=file, width=200), 2)
    ledger = Ledger([first, second], display, lambda run: Job(run.planned, "", []))
    begun, job = ledger.begin()
    assert begun is first
    assert job.run == first.planned
    ledger.stop(15)
    assert not ledger.waiting
    if kind == "ended":
        ledger.hear(begun, Ended("stopped by signal 15", stopped=True))
    else:
        ledger.bury(begun, "killed by SIGKILL")
    assert first.fault is None
    assert file.getvalue() == "run 1 of 2, run 1, stopped\n"


def test_a_run_that_was_stopped_alone_goes_on_twice() -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    run = SweptRun(1, "run 1", settings)
    file = io.StringIO()
    display = Display(Console(file=file, width=200), 1)
    ledger = Ledger([run], display, lambda run: Job(run.planned, "", []))
    for _ in range(RESUMES + 1):
        assert run.fault is None
        begun, _ = ledger.begin()
        ledger.hear(begun, Ended("stopped by signal 15", stopped=True))
    assert not ledger.waiting
    assert run.fault == "its process was stopped by signal 15, at attempt 3"
    assert file.getvalue().count("and the run goes on in another one") == RESUMES
