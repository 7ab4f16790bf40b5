"""Runs that a signal stops, and plans that are finished later, through the command line."""

import os
import resource
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.cli import main, outcomes
from cl_prompts.experiments.recipes import run_config
from cl_prompts.experiments.report import page as report
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.runner import running
from cl_prompts.experiments.runner.task_loop import TaskLoop
from cl_prompts.experiments.tracking.tracker import Tracker
from tests.experiments.commands import NOISE, PROBE, QUICK, QUICK_MVP_R, run, signalling, summary
from tests.experiments.fates import FATED, FATES
from tests.forked import forked

#: what may differ between a run and the same run in pieces
EXEMPT = {"seconds", "images_per_second", "peak_memory_mb", "peak_device_memory_mb", "command"}


def signals_at(monkeypatch: pytest.MonkeyPatch, number: int, samples: int) -> None:
    # Also where the tests run behind a shell that ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(Tracker, "after_training_iteration", signalling(number, samples))


def same_run(first: Path, second: Path) -> None:
    """Two folders hold the same numbers, to the last digit."""
    for name in ("metrics.csv", "model/model.safetensors", "stream.json", "stream.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    one, other = summary(first), summary(second)
    assert {k for k in one if one[k] != other[k]} <= EXEMPT


@pytest.mark.parametrize(
    ("number", "code", "settings", "samples"),
    [
        (signal.SIGINT, 130, QUICK_MVP_R, 20),
        (signal.SIGTERM, 143, PROBE, 45),
        (signal.SIGTERM, 143, [*QUICK_MVP_R, *NOISE], 20),
    ],
)
def test_a_stopped_run_resumes_to_the_same_numbers(
    number: signal.Signals,
    code: int,
    settings: list[str],
    samples: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, (whole,) = run(tmp_path / "whole", "digits", *settings)
    with monkeypatch.context() as patch:
        signals_at(patch, number, samples)
        ended, (folder,) = run(tmp_path / "cut", "digits", *settings)
    said = capsys.readouterr().err
    assert ended == code
    assert f"continue with: cl-prompts run --resume {folder}" in said
    assert summary(folder)["status"] == "interrupted"
    assert samples <= summary(folder)["samples_seen"] < samples + 16
    assert main(["run", "--resume", str(folder), "--trust-code", "--quiet"]) == 0
    same_run(whole, folder)


def test_a_stopped_plan_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["strategy=ncm,linear_probe", *PROBE[2:], "seed=1"]
    _, whole = run(tmp_path / "whole", "digits", *settings)
    with monkeypatch.context() as patch:
        signals_at(patch, signal.SIGTERM, 20)  # the first run is under way, the second missing
        assert run(tmp_path / "cut", "digits", *settings)[0] == 143
    above = tmp_path / "cut" / "digits"
    assert main(["run", "--resume", str(above), "--trust-code"]) == 0
    assert "1 unfinished, 1 missing" in capsys.readouterr().out
    for first in whole:
        (second,) = (above / first.parent.name).iterdir()
        same_run(first, second)
    assert main(["run", "--resume", str(above), "--trust-code"]) == 2
    assert "there is nothing to resume" in capsys.readouterr().err


def test_an_interval_of_checkpoints_changes_nothing(tmp_path: Path, probe_run: Path) -> None:
    _, (often,) = run(tmp_path, "digits", *PROBE, "checkpoint_every=8")
    same_run(probe_run, often)


NOTHING = "stopped before the first run began"
RESUME = "continue with: cl-prompts run --resume "
REPORT = "stopped before the report was written; write it with: cl-prompts report "
#: a function that the phase calls, and how a signal that comes there ends the command
PHASES: dict[str, tuple[Any, str, str]] = {
    "reading": (run_config, "plan", NOTHING),
    "validation": (running, "check_plan", NOTHING),
    "folder": (RunFolder, "opened", RESUME),
    "start": (TaskLoop, "restore", RESUME),
    "results": (Tracker, "finish", "stopped after the last run"),
    "report": (report, "write_report", REPORT),
    "table": (outcomes, "tables", "stopped after the report was written: "),
}


def signalled(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    left = [number]

    def called(*args: Any, **kwargs: Any) -> Any:
        if left:
            os.kill(os.getpid(), left.pop())
        return function(*args, **kwargs)

    return called


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_outside_training_prints_the_command_that_continues(
    phase: str,
    probe_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pages: None,
) -> None:
    owner, name, says = PHASES[phase]
    with monkeypatch.context() as patch:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        function = signalled(getattr(owner, name), signal.SIGINT)
        # Class methods are bound already.
        is_bound = hasattr(getattr(owner, name), "__self__")
        patch.setattr(owner, name, staticmethod(function) if is_bound else function)
        code, _ = run(tmp_path, "digits", *PROBE)
    said = capsys.readouterr().err
    assert code == 130
    assert said.startswith("cl-prompts: stopped")
    assert says in said
    assert said.count("\n") == 1
    command = said.partition(": cl-prompts ")[2]
    if command:
        assert main(shlex.split(command)) == 0
    elif phase not in ("results", "table"):
        assert not [file for file in tmp_path.rglob("*") if file.is_file()]
        return
    (folder,) = (tmp_path / "digits" / "linear_probe").iterdir()
    same_run(probe_run, folder)
    (page,) = tmp_path.rglob("*.html")
    assert len(page.read_text()) > 10_000


def test_a_signal_between_two_runs_of_a_plan_names_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["strategy=ncm,linear_probe", *PROBE[2:], "seed=1"]
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_end", signalled(RunFolder.write_end, signal.SIGTERM))
        code, (first,) = run(tmp_path, "digits", *settings)
    above = tmp_path / "digits"
    command = f"cl-prompts run --resume {above} --trust-code"
    assert (code, capsys.readouterr().err) == (
        143,
        f"cl-prompts: stopped; continue with: {command}\n",
    )
    assert summary(first)["status"] == "finished"
    assert main(shlex.split(command)[1:]) == 0
    assert "1 finished, 1 missing" in capsys.readouterr().out


@pytest.mark.parametrize("noise", [[], NOISE])
def test_a_killed_process_leaves_a_run_that_resumes_to_the_same_numbers(
    noise: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FATES, str(tmp_path))
    settings = ["digits", f"strategy={FATED}", "seed=1", *QUICK, "checkpoint_every=32", *noise]
    _, (whole,) = run(tmp_path / "whole", *settings)
    (tmp_path / "1").write_text("killed")
    arguments = ["run", *settings, "--out", str(tmp_path / "cut"), "--quiet"]
    assert forked(lambda: main(arguments)).code == -signal.SIGKILL
    (cut,) = (file.parent for file in (tmp_path / "cut").rglob("config.yaml"))
    assert main(["run", "--resume", str(cut), "--trust-code", "--quiet"]) == 0
    same_run(whole, cut)


def test_a_disk_without_room_ends_a_run_in_one_sentence(
    tmp_path: Path, probe_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        assert main(["run", "digits", *PROBE, "--out", str(tmp_path), "--quiet"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err
    assert "File too large (run folder " in said
    assert said.count("\n") == 1
    (folder,) = (file.parent for file in tmp_path.rglob("config.yaml"))
    assert main(["run", "--resume", str(folder), "--trust-code", "--quiet"]) == 0
    same_run(probe_run, folder)
