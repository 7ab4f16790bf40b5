"""Sweeps find finished runs and execute the others."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.run_folder.files import SUMS_FILE, sums
from cl_prompts.experiments.sweeps.grid import grid
from cl_prompts.experiments.sweeps.sweep import Sweep, earlier_runs
from tests.experiments.commands import PROBE, QUICK, unfinished_copy
from tests.experiments.test_stops import same_run


def swept(out: Path, *arguments: str) -> int:
    return main(["sweep", "digits", *arguments, "--out", str(out)])


@pytest.fixture
def made(probe_run: Path, tmp_path: Path) -> Path:
    """The folder of a finished run, where a sweep looks for it."""
    folder = tmp_path / "digits" / "linear_probe" / "3-made"
    shutil.copytree(probe_run, folder)
    return folder


def test_equal_settings_are_not_run_again(
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
    assert len(list(home.iterdir())) == 1
    assert swept(tmp_path, *probe, "lr=5e-3,1e-2", "--quiet") == 0
    rates = [(folder / "config.yaml").read_text() for folder in home.iterdir()]
    assert sorted("lr: 0.005" in text for text in rates) == [False, True]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, ""),
        ({"backbone": "another"}, "the weights or the normalisation of its backbone changed"),
        ({"numbers": 0}, "the results of cl-prompts changed, NUMBERS was 0 and is"),
        ({"package": "other"}, ""),
        ({"package": "other", "status": "failed"}, "the code of cl-prompts changed"),
    ],
)
def test_a_run_of_another_identity_is_repeated(
    changed: dict[str, Any], says: str, made: Path, tmp_path: Path
) -> None:
    for name in ("identity.json", "summary.json"):
        file = made / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    (made / SUMS_FILE).write_text(sums(made, {}))
    console = Console(record=True)
    sweep = Sweep(grid("digits", PROBE), tmp_path, console=console)
    assert (sweep.runs[0].folder == made) == (not says)
    sweep.check()
    text = console.export_text()
    assert says in text
    assert ("is not used, and its run is repeated" in text) == bool(says)


def test_finished_runs_come_first_newest_first(tmp_path: Path) -> None:
    def folder(name: str, status: str, seed: int = 1) -> Path:
        path = tmp_path / "ncm" / name
        path.mkdir(parents=True)
        (path / "config.yaml").touch()
        (path / "identity.json").write_text(json.dumps({"settings": {"seed": seed}}))
        (path / "summary.json").write_text(json.dumps({"status": status}))
        return path

    first, best = folder("1-a", "finished"), folder("1-b", "finished")
    failed = folder("1-c", "failed")
    begun = folder("2-a", "running", seed=2)
    (folder("1-d", "finished") / "identity.json").write_text("{")  # no run of these settings
    assert earlier_runs(tmp_path) == {'{"seed": 1}': [best, first, failed], '{"seed": 2}': [begun]}
    assert earlier_runs(tmp_path / "nowhere") == {}
