"""A sweep on Ray has the numbers of one on this machine, also where a process is killed."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from cl_prompts.experiments.report import page as report
from cl_prompts.experiments.sweeps import sweep_ray
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.sweep_worker import Noted
from tests.experiments.commands import QUICK
from tests.experiments.fates import FATES
from tests.experiments.sweeps.test_sweep import FATED, made, swept, table_in
from tests.experiments.sweeps.test_sweep_ledger import ledger_of
from tests.experiments.test_stops import same_run

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: pip install ray"
)


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


class PretendedRay:
    """A message queue that is away, then has two messages, one of a run that ended."""

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


def test_a_message_queue_that_is_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_ray, "extra", lambda *names: PretendedRay())
    ledger, _, file = ledger_of("strategy=ncm", "seed=1")
    ledger.begin()
    launcher = sweep_ray.RayLauncher(ledger, Launching("ray"))
    launcher._messages = MagicMock()
    for _ in range(3):
        launcher._handle_messages()
    assert file.getvalue() == "note: run 1: goes on\n"


def test_processes_of_ray_do_not_look_for_modules_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray puts the current folder of whoever connects first on the path of its processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "mine")
    found: list[tuple[Path, str]] = []

    class Ray:
        def init(self, *address: str, **how: Any) -> None:
            found.append((Path.cwd(), os.environ["PYTHONPATH"]))

        def shutdown(self) -> None: ...

    with sweep_ray._cluster(Ray()):
        assert Path.cwd() == tmp_path
    assert found == [(Path(sys.prefix), str(tmp_path / "mine"))]


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
    here = made(tmp_path / "here")
    there = made(tmp_path / "ray")
    assert here.keys() == there.keys() == {"Fated 1", "Fated 2", "Fated 3"}
    for name in ("Fated 1", "Fated 2"):
        same_run(here[name], there[name])
        assert (here[name] / "config.yaml").read_bytes() == (
            there[name] / "config.yaml"
        ).read_bytes()
