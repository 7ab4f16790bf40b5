"""The folder of a run: locked, valid at any time, and safe to load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.run_folder import CHECKPOINT_FILE, RunFolder, environment, new_path
from cl_prompts.experiments.settings import Settings, plan
from tests.experiments.commands import rows, summary


@pytest.fixture
def settings() -> Settings:
    return plan("digits", ["strategy=ncm", "seed=4"])[0]


@pytest.fixture
def unfinished(mvp_run: Path, tmp_path: Path) -> Path:
    """A copy of a run that says that it is running."""
    folder = tmp_path / "copy"
    shutil.copytree(mvp_run, folder)
    (folder / "summary.json").write_text(json.dumps({**summary(folder), "status": "running"}))
    return folder


def test_a_finished_folder_holds_everything(mvp_run: Path) -> None:
    files = {file.name for file in mvp_run.iterdir()}
    assert files >= {
        "config.yaml",
        "environment.json",
        "stream.json",
        "summary.json",
        "metrics.csv",
        "checkpoint.pt",
        "learned.safetensors",
        "keys.npz",
    }
    assert not any(name.startswith(".") for name in files)
    run_settings = Settings.from_yaml((mvp_run / "config.yaml").read_text())
    assert (run_settings.strategy, run_settings.options["buffer_size"]) == ("mvp", 30)
    assert summary(mvp_run)["command"].startswith("cl-prompts run digits strategy=mvp")


def test_checkpoints_hold_tensors_and_plain_values_only(mvp_run: Path) -> None:
    state = torch.load(mvp_run / CHECKPOINT_FILE, weights_only=True)
    assert state["tasks_done"] == 3
    assert not any(name.startswith("backbone.") for name in state["strategy"]["model"])
    assert (mvp_run / "learned.safetensors").stat().st_size < 500_000


def test_new_paths_are_free_and_have_a_short_label(tmp_path: Path, settings: Settings) -> None:
    settings.strategy = "package.module:MyMethod"
    paths = []
    for _ in range(3):
        paths.append(new_path(tmp_path, settings))
        RunFolder.create(paths[-1], settings, "").close()
    assert {path.parent for path in paths} == {tmp_path / "digits" / "MyMethod"}
    assert len(set(paths)) == 3
    assert all(path.name.startswith("4-") for path in paths)


def test_folders_in_use_and_foreign_folders_are_refused(
    unfinished: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    holder, resumed = RunFolder.resume(unfinished)
    assert resumed.strategy == "mvp"
    assert main(["run", "--resume", str(unfinished)]) == 2
    assert "is being written by another process" in capsys.readouterr().err
    holder.close()
    assert main(["run", "--resume", str(unfinished.parent)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    with pytest.raises(InputError, match="exists already"):
        RunFolder.create(unfinished, settings, "")
    (unfinished.parent / "file").touch()
    with pytest.raises(InputError, match=r"file/run cannot be created"):
        RunFolder.create(unfinished.parent / "file" / "run", settings, "")


def test_damaged_files_are_told_and_the_folder_stays_free(unfinished: Path) -> None:
    (unfinished / "config.yaml").write_text("recipe: [")
    with pytest.raises(InputError, match="these are not the settings of a run"):
        RunFolder.resume(unfinished)
    folder = RunFolder(unfinished)
    (unfinished / CHECKPOINT_FILE).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match=r"checkpoint\.pt cannot be read .*: delete it to start"):
        folder.load_checkpoint()
    folder.close()


def test_metrics_written_after_the_last_checkpoint_are_cut_off(unfinished: Path) -> None:
    before = rows(unfinished)
    folder = RunFolder(unfinished)
    size = folder.load_checkpoint()["metrics_size"]
    kept = (unfinished / "metrics.csv").read_bytes()
    assert len(kept) == size
    folder.add_metrics([(1, "loss", "train", 0.1)])
    assert rows(unfinished)[-1] == ["1", "loss", "train", "0.1"]
    folder.load_checkpoint()
    assert (unfinished / "metrics.csv").read_bytes() == kept
    (unfinished / CHECKPOINT_FILE).unlink()
    assert folder.load_checkpoint() is None
    assert (unfinished / "metrics.csv").read_bytes() == b""
    folder.close()
    assert len(before) > 1


def test_the_environment_names_versions() -> None:
    found = environment("cpu", "the command")
    assert found["torch"] == torch.__version__
    assert found["command"] == "the command"
    assert {"cl_prompts", "python", "avalanche", "platform", "git_revision"} <= set(found)
