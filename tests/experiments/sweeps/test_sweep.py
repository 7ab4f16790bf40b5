"""Sweeps through the command line: runs that are made, found finished, fail, or are stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cl_prompts import __version__
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.grid import essence, grid
from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.run_folder.checksums import SUMS_FILE, sums
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.interruption import Stopped
from cl_prompts.experiments.sweeps import sweep_ledger
from cl_prompts.experiments.sweeps.sweep import Sweep, earlier_runs
from tests.experiments.commands import PROBE, QUICK, run, summary
from tests.experiments.fates import FATES
from tests.experiments.runner.test_execution import unfinished_copy
from tests.experiments.test_stops import same_run

FATED = "tests.experiments.fates:Fated"
TWO = [f"strategy={FATED}", "seed=1-2", *QUICK]


@pytest.fixture
def fates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fates"
    folder.mkdir()
    monkeypatch.setenv(FATES, str(folder))
    return folder


def swept(out: Path, *arguments: str) -> int:
    return main(["sweep", "digits", *arguments, "--out", str(out)])


def made(out: Path) -> dict[str, Path]:
    """Run folders by strategy and seed."""
    folders = [file.parent for file in out.rglob("config.yaml")]
    found = {f"{folder.parent.name} {folder.name.partition('-')[0]}": folder for folder in folders}
    assert len(found) == len(folders)
    return found


def table_in(text: str) -> str:
    """The table of results, as printed."""
    lines = text.splitlines()
    (begin,) = (i for i, line in enumerate(lines) if line.strip().startswith("strategy"))
    (end,) = (i for i, line in enumerate(lines) if line.startswith("report: "))
    return "\n".join(lines[begin:end])


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_killed_process_changes_no_number(
    tmp_path: Path, fates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processes; one is killed in the middle of a run, which goes on in a third one."""
    settings = [*TWO, "checkpoint_every=32"]
    assert main(["run", "digits", *settings, "--out", str(tmp_path / "whole")]) == 0
    want = table_in(capsys.readouterr().out)
    (fates / "2").write_text("killed")
    assert swept(tmp_path / "cut", *settings, "--jobs", "2") == 0
    told = capsys.readouterr().out
    assert "Fated seed 2, its process was killed by SIGKILL, and the run goes on" in told
    assert table_in(told) == want
    whole = made(tmp_path / "whole")
    cut = made(tmp_path / "cut")
    assert whole.keys() == cut.keys() == {"Fated 1", "Fated 2"}
    for name, folder in whole.items():
        same_run(folder, cut[name])


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_run_that_fails_stops_no_other(
    tmp_path: Path, fates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fates / "1").write_text("fails")
    (fates / "2").write_text("breaks")
    assert swept(tmp_path, *TWO[:1], "seed=1-3", *QUICK) == 1
    told = capsys.readouterr()
    assert "3 runs: 3 missing" in told.out
    assert "run 1 of 3, Fated seed 1, failed: the disk is full (run folder " in told.out
    assert "run 3 of 3, Fated seed 3, finished after" in told.out
    assert table_in(told.out).splitlines()[-2].split()[:2] == ["Fated", "1"]
    errors = told.err.splitlines()
    assert "Traceback (most recent call last):" in errors
    assert "ZeroDivisionError: nobody foresaw this" in errors
    assert "failed: Fated seed 2: ZeroDivisionError: nobody foresaw this" in errors
    assert errors[-1] == ("cl-prompts: 2 of 3 runs failed; the same command tries them again")
    states = {name: summary(folder)["status"] for name, folder in made(tmp_path).items()}
    assert states == {"Fated 1": "failed", "Fated 2": "failed", "Fated 3": "finished"}
    # What broke goes on at its checkpoint; what is finished is left alone.
    (fates / "1").unlink()
    assert swept(tmp_path, *TWO[:1], "seed=1-3", *QUICK, "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert len(made(tmp_path)) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_run_whose_process_is_killed_again_and_again_fails(
    tmp_path: Path,
    fates: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sweep_ledger, "RESUMES", 0)
    (fates / "1").write_text("killed")
    assert swept(tmp_path, *TWO) == 1
    told = capsys.readouterr()
    assert "failed: Fated seed 1: its process was killed by SIGKILL, at attempt 1" in told.err
    assert "run 2 of 2, Fated seed 2, finished" in told.out


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_signal_stops_a_sweep_with_everything_saved(
    tmp_path: Path, fates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    _, whole = run(tmp_path / "whole", "digits", *TWO)
    (fates / "1").write_text("stops the sweep")
    assert swept(tmp_path / "cut", *TWO) == 143
    told = capsys.readouterr()
    assert "run 1 of 2, Fated seed 1, stopped" in told.out
    assert "stopped, with 2 of 2 runs to go; the same command goes on" in told.err
    assert signal.getsignal(signal.SIGTERM) == before
    (begun,) = made(tmp_path / "cut").values()
    assert summary(begun)["status"] == "interrupted"
    assert swept(tmp_path / "cut", *TWO) == 0
    assert "2 runs: 1 unfinished, 1 missing" in capsys.readouterr().out
    for first, second in zip(whole, sorted(made(tmp_path / "cut").values()), strict=True):
        same_run(first, second)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_equal_settings_are_not_run_again_and_others_are(
    probe_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = ["strategy=linear_probe", "seed=3", *QUICK]
    home = tmp_path / "digits" / "linear_probe"
    home.mkdir(parents=True)
    unfinished_copy(probe_run, home / "3-begun")
    assert swept(tmp_path, *probe) == 0
    assert "1 runs: 1 unfinished" in capsys.readouterr().out
    same_run(probe_run, home / "3-begun")
    assert swept(tmp_path, *probe, "num_workers=0", "checkpoint_every=64", "device=cpu") == 0
    told = capsys.readouterr().out
    assert "1 runs: 1 finished" in told
    assert "report: " in told
    assert len(made(tmp_path)) == 1
    assert swept(tmp_path, *probe, "lr=5e-3,1e-2", "--quiet") == 0
    rates = [(folder / "config.yaml").read_text() for folder in home.iterdir()]
    assert sorted("lr: 0.005" in text for text in rates) == [False, True]
    (home / "3-begun" / "metrics.csv").write_text("")
    assert swept(tmp_path, *probe) == 2
    assert "metrics.csv is not what it was when the run ended" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, ""),
        ({"backbone": "another"}, "the weights or the normalisation of its backbone changed"),
        ({"version": "0"}, "cl-prompts 0 made it, and this is"),
    ],
)
def test_a_run_of_another_identity_does_not_count_as_made(
    changed: dict[str, Any], says: str, probe_run: Path, tmp_path: Path
) -> None:
    made = tmp_path / "digits" / "linear_probe" / "3-made"
    shutil.copytree(probe_run, made)
    file = made / "identity.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    (made / SUMS_FILE).write_text(sums(made, {}))
    console = Console(record=True)
    sweep = Sweep(grid("digits", PROBE), tmp_path, console=console)
    (one,) = sweep.runs
    assert (one.folder == made) == (not says)
    sweep.check()
    text = console.export_text()
    assert says in text
    assert ("is left alone, and its run is made again" in text) == bool(says)


def test_a_finished_run_without_its_checksums_is_refused(probe_run: Path, tmp_path: Path) -> None:
    """By a search, too, which makes no report that would refuse it."""
    made = tmp_path / "digits" / "linear_probe" / "3-made"
    shutil.copytree(probe_run, made)
    (made / SUMS_FILE).unlink()
    with pytest.raises(InputError, match="3-made lacks the SHA256SUMS of a finished run"):
        Sweep(grid("digits", PROBE), tmp_path, console=Console(quiet=True))


def test_a_finished_run_whose_data_are_gone_counts_as_made(
    probe_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "digits" / "linear_probe" / "3-made"
    shutil.copytree(probe_run, made)

    def gone(*given: Any) -> None:
        raise InputError("no such folder")

    monkeypatch.setattr(Builder, "data", gone)
    console = Console(record=True, width=500)
    sweep = Sweep(grid("digits", PROBE), tmp_path, console=console)
    assert sweep.finished == [made]
    sweep.check()
    assert "cannot be compared: no such folder" in console.export_text()


def test_bad_input_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert swept(tmp_path / "out", "seed=1", "strategy=mvp", "e_blocks=[1],[7]") == 2
    assert "block 7, but this ViT has blocks 0 to 5" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_signal_before_the_first_run_says_that_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Sweep, "check", lambda sweep: os.kill(os.getpid(), signal.SIGTERM))
    assert swept(tmp_path / "out", "strategy=ncm", "seed=1-2") == 143
    assert capsys.readouterr().err == "cl-prompts: stopped; the same command goes on\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_faults_are_listed_and_a_stop_comes_first(
    number: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(grid("digits", ["strategy=ncm", "seed=1-2"]), tmp_path, console=Console())
    sweep.conclude()
    assert capsys.readouterr() == ("", "")
    sweep.runs[1].fault = "the disk is full \x1b[31m"
    sweep.stopped = number
    kind = RunError if number is None else Stopped
    says = "1 of 2 runs failed" if number is None else "stopped, with 2 of 2 runs to go"
    with pytest.raises(kind, match=says) as told:
        sweep.conclude()
    assert capsys.readouterr().err == "failed: ncm seed 2: the disk is full \\x1b[31m\n"
    assert getattr(told.value, "exit_code", None) == (number and 143)


def test_each_fault_counts_where_two_runs_read_alike(tmp_path: Path) -> None:
    sweep = Sweep(grid("digits", ["strategy=ncm", "seed=1-2"]), tmp_path, console=Console())
    for one in sweep.runs:
        one.label = "ncm note=5"
        one.fault = f"broken {one.number}"
    assert [fault for _, fault in sweep.faults] == ["broken 1", "broken 2"]
    with pytest.raises(RunError, match="2 of 2 runs failed"):
        sweep.conclude()


def folder(above: Path, name: str, status: str | None, seed: int = 1, **about: Any) -> Path:
    """The files of a run folder that say whose it is."""
    (settings,) = plan("digits", ["strategy=ncm", f"seed={seed}"])
    path = above / "ncm" / name
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(settings.to_yaml())
    known = {"cl_prompts": __version__, "time": name, **about}
    (path / "environment.json").write_text(json.dumps(known))
    if status is not None:
        (path / "summary.json").write_text(json.dumps({"status": status}))
    return path


def key(seed: int) -> str:
    (settings,) = plan("digits", ["strategy=ncm", f"seed={seed}"])
    return essence(asdict(settings))


def test_the_newest_finished_run_is_found_or_else_the_newest(tmp_path: Path) -> None:
    folder(tmp_path, "1-a", "finished")
    best = folder(tmp_path, "1-b", "finished")
    folder(tmp_path, "1-c", "failed")
    folder(tmp_path, "2-a", "running", seed=2)
    begun = folder(tmp_path, "2-b", None, seed=2)
    folder(tmp_path, "3-a", "finished", seed=3, cl_prompts="0.0.1")
    assert earlier_runs(tmp_path) == ({key(1): best, key(2): begun}, [])
    assert earlier_runs(tmp_path / "nowhere") == ({}, [])


def test_folders_that_cannot_be_read_are_left_alone_with_a_note(tmp_path: Path) -> None:
    good = folder(tmp_path, "1-a", "finished")
    (folder(tmp_path, "1-b", "finished") / "config.yaml").write_text("seed: [")
    (folder(tmp_path, "1-c", "finished") / "environment.json").unlink()
    (folder(tmp_path, "1-d", "finished") / "config.yaml").write_text("3")
    found, notes = earlier_runs(tmp_path)
    assert found == {key(1): good}
    assert [note.partition(" is left alone")[0] for note in notes] == [
        str(tmp_path / "ncm" / name) for name in ("1-b", "1-c", "1-d")
    ]
