"""What a sweep says at its end; whole sweeps: test_sweep.py."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cl_prompts.errors import RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.runner.interruption import Stopped
from cl_prompts.experiments.sweeps.sweep_actions import Outcome


def test_faults_are_listed_and_a_stop_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    faults = {"ncm seed 2": "the disk is full"}
    Outcome("digits", [Path("a")], 1, {}, None).tell()
    assert capsys.readouterr() == ("", "")
    with pytest.raises(RunError, match="1 of 2 runs failed"):
        Outcome("digits", [Path("a")], 2, faults, None).tell()
    assert capsys.readouterr().err == "failed: ncm seed 2: the disk is full\n"
    with pytest.raises(Stopped, match="stopped, with 1 of 2 runs to go") as told:
        Outcome("digits", [Path("a")], 2, faults, signal.SIGTERM).tell()
    assert told.value.exit_code == 143


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--trials", "3"], "--trials is for a search: add --sampler tpe"),
        (["--search-seed", "3"], "--search-seed is for a search: add --sampler tpe"),
        (["--sampler", "tp"], "did you mean 'tpe'?"),
        (["--launcher", "rey"], "did you mean 'ray'?"),
        (["--gpus", "1"], "--cpus and --gpus are for --launcher ray or slurm"),
        (["--jobs", "0"], "--jobs must be a whole number from 1 to 256"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "digits", "strategy=ncm", "lr=1e-3..1e-1", *options]) == 2
    assert says in capsys.readouterr().err
