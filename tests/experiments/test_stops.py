"""Runs that a signal stops, and plans that are finished later, through the command line."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.tracking.tracker import ProgressLine
from tests.experiments.commands import PROBE, QUICK_MVP_R, run, signalling, summary

#: what may differ between a run and the same run in pieces
EXEMPT = {"seconds", "images_per_second", "peak_memory_mb", "peak_device_memory_mb", "command"}


def signals_at(monkeypatch: pytest.MonkeyPatch, number: int, samples: int) -> None:
    """Send this process a signal once, when a run has seen so many samples."""
    # Also where the tests run behind a shell that ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(ProgressLine, "after_training_iteration", signalling(number, samples))


def same_run(first: Path, second: Path) -> None:
    """Two folders hold the same numbers, to the last digit."""
    for name in ("metrics.csv", "learned.safetensors", "stream.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    one, other = summary(first), summary(second)
    assert {k for k in one if one[k] != other[k]} <= EXEMPT


@pytest.mark.parametrize(
    ("number", "code", "settings", "samples"),
    [(signal.SIGINT, 130, QUICK_MVP_R, 20), (signal.SIGTERM, 143, PROBE, 45)],
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


def test_an_interval_of_checkpoints_changes_nothing(tmp_path: Path) -> None:
    _, (seldom,) = run(tmp_path / "a", "digits", *PROBE)
    _, (often,) = run(tmp_path / "b", "digits", *PROBE, "checkpoint_every=8")
    same_run(seldom, often)
