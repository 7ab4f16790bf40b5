"""A sweep on Ray has the numbers of one on this machine, also where a process is killed."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.report import page as report
from cl_prompts.experiments.sweeps import sweep_ray
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_worker import Noted
from cl_prompts.experiments.tracking.progress import Display
from tests.experiments.commands import QUICK
from tests.experiments.fates import FATES
from tests.experiments.sweeps.test_sweep import FATED, made, swept, table_in
from tests.experiments.test_stops import same_run

HAS_RAY = find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install ray")


@pytest.fixture
def fates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of fates, for processes of a cluster on this machine alone; and no report."""
    folder = tmp_path / "fates"
    folder.mkdir()
    monkeypatch.setenv(FATES, str(folder))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Ray kills processes where memory is short, and gives its own a low priority: not in a test.
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setattr(report, "write_report", lambda folders, out=None: out)
    return folder


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_there_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert swept(tmp_path, "strategy=ncm", "seed=1", "--launcher", "ray") == 2
    told = capsys.readouterr()
    assert told.err == (
        "cl-prompts: --launcher ray needs ray, which is not installed: pip install"
        " 'cl-prompts[ray]'\n"
    )
    assert told.out == ""


class PretendedRay:
    """A mailbox that is away, then has two messages, one of a run that ended."""

    class exceptions:  # as Ray names it
        RayActorError = type("RayActorError", (Exception,), {})
        GetTimeoutError = type("GetTimeoutError", (Exception,), {})

    def __init__(self) -> None:
        faults = self.exceptions
        said = [(1, Noted("goes on")), (7, Noted("is over"))]
        self.answers = [faults.RayActorError(), faults.GetTimeoutError(), said]

    def get(self, asked: Any, timeout: float) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_mailbox_that_is_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_ray, "extra", lambda *names: PretendedRay())
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    run = SweptRun(1, "ncm seed 1", settings)
    file = io.StringIO()
    display = Display(Console(file=file, width=200), 1)
    launcher = sweep_ray.RayLauncher(Ledger([run], display, lambda run: None), Launching("ray"))
    launcher._under_way["task"] = run
    for _ in range(3):
        launcher._listen(MagicMock())
    assert file.getvalue() == "note: ncm seed 1: goes on\n"


@needs_ray
@pytest.mark.slow
def test_a_killed_process_changes_no_number(
    tmp_path: Path, fates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two at a time; one is killed in the middle of its run, another fails and stops neither."""
    settings = [f"strategy={FATED}", "seed=1-3", *QUICK, "checkpoint_every=32", "--jobs", "2"]
    (fates / "3").write_text("fails")
    assert swept(tmp_path / "here", *settings) == 1
    want = table_in(capsys.readouterr().out)
    (fates / "2").write_text("killed")
    assert swept(tmp_path / "ray", *settings, "--launcher", "ray") == 1
    told = capsys.readouterr()
    assert not (fates / "2").exists()
    assert (
        "Fated seed 2, its process was lost (WorkerCrashedError), and the run goes on" in told.out
    )
    assert "failed: Fated seed 3: the disk is full" in told.err
    assert table_in(told.out) == want
    here, there = made(tmp_path / "here"), made(tmp_path / "ray")
    assert here.keys() == there.keys() == {"Fated 1", "Fated 2", "Fated 3"}
    for name in ("Fated 1", "Fated 2"):
        same_run(here[name], there[name])
        assert (here[name] / "config.yaml").read_bytes() == (
            there[name] / "config.yaml"
        ).read_bytes()
