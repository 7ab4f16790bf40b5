"""The folder of a run: locked, valid at any time, and resumed to the same files."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from cl_prompts.backbones.devices import pick_device
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder import folder as run_folder
from cl_prompts.experiments.run_folder.checkpoint import Checkpoints
from cl_prompts.experiments.run_folder.folder import RunFolder, environment
from cl_prompts.experiments.run_folder.identity import settings_identity
from tests.experiments.commands import rows, summary
from tests.experiments.faults import Fault, contents, count_steps, with_fault


@pytest.fixture
def settings() -> RunConfig:
    return plan("digits", ["strategy=ncm", "seed=4"])[0]


@pytest.fixture
def unfinished(mvp_run: Path, tmp_path: Path) -> Path:
    """A copy of a run that says that it is running."""
    folder = tmp_path / "copy"
    shutil.copytree(mvp_run, folder)
    (folder / "summary.json").write_text(json.dumps({**summary(folder), "status": "running"}))
    return folder


def test_a_finished_folder_holds_everything(mvp_run: Path) -> None:
    names = {file.name for file in mvp_run.iterdir()}
    known = {"config.yaml", "environment.json", "identity.json", "stream.json", "summary.json"}
    known |= {"metrics.csv", "checkpoint", "checkpoint.previous", "checkpoint.sha256"}
    known |= {"learned.safetensors", "keys.npz", "confidence.json"}
    assert names >= known
    sums = (mvp_run / "SHA256SUMS").read_text()
    assert all(f"  {name}\n" in sums for name in known)
    run_settings = RunConfig.from_yaml((mvp_run / "config.yaml").read_text())
    assert (run_settings.strategy, run_settings.options["buffer_size"]) == ("mvp", 30)
    assert summary(mvp_run)["command"].startswith("cl-prompts run digits strategy=mvp")
    found, _ = Checkpoints(mvp_run).load()
    assert found is not None
    assert found.state["tasks_done"] == 3
    assert not any(name.startswith("backbone.") for name in found.state["strategy"]["model"])


def test_folders_in_use_and_foreign_folders_are_refused(
    unfinished: Path, settings: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    holder, resumed = RunFolder.resume(unfinished)
    assert resumed.strategy == "mvp"
    assert main(["run", "--resume", str(unfinished)]) == 2
    assert "another process is writing to run folder" in capsys.readouterr().err
    holder.close()
    assert main(["run", "--resume", str(unfinished.parent)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    with pytest.raises(InputError, match="exists already"):
        RunFolder.create(unfinished, settings, {}, "")
    RunFolder.resume(unfinished)[0].close()  # the lock was released


def test_metrics_written_after_the_last_checkpoint_are_cut_off(unfinished: Path) -> None:
    folder, _ = RunFolder.resume(unfinished)
    kept = (unfinished / "metrics.csv").read_bytes()
    folder.load_checkpoint()
    folder.add_metrics([(1, "loss", "train", 0.1)])
    assert rows(unfinished)[-1] == ["1", "loss", "train", "0.1"]
    folder.load_checkpoint()
    assert (unfinished / "metrics.csv").read_bytes() == kept
    (unfinished / "metrics.csv").write_bytes(kept[:-1])
    with pytest.raises(InputError, match=r"metrics\.csv changed since the checkpoint"):
        folder.load_checkpoint()
    for file in unfinished.glob("checkpoint*"):
        file.unlink()
    assert folder.load_checkpoint() is None
    assert (unfinished / "metrics.csv").read_bytes() == b""
    folder.close()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "config.yaml",
            b"recipe: [",
            "config.yaml cannot be used: this is not a run",
        ),
        ("config.yaml", b"\xff\xfe", "config.yaml cannot be read: it is not UTF-8"),
        ("summary.json", b'{"status": "fini', "summary.json is not JSON: restore it"),
        ("identity.json", b"{}", "cannot be resumed: it was made with cl-prompts None"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(
    name: str, content: bytes, says: str, unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (unfinished / name).write_bytes(content)
    before = contents(unfinished)
    assert main(["run", "--resume", str(unfinished)]) == 2
    told = capsys.readouterr().err.strip()
    assert says in told
    assert "\n" not in told
    assert contents(unfinished) == before


def test_changed_settings_are_refused(unfinished: Path) -> None:
    text = (unfinished / "config.yaml").read_text()
    for old, new, says in (
        ("lr: 0.005", "lr: 0.05", r"its setting options\.lr was 0\.005 and is 0\.05"),
        ("  buffer_size: 30", "  bufer_size: 30", "config.yaml cannot be used: .*bufer_size"),
    ):
        assert old in text
        (unfinished / "config.yaml").write_text(text.replace(old, new, 1))
        before = contents(unfinished)
        with pytest.raises(InputError, match=says):
            RunFolder.resume(unfinished)
        assert contents(unfinished) == before
    every = text.replace("checkpoint_every: null", "checkpoint_every: 7")
    (unfinished / "config.yaml").write_text(every)
    folder, settings = RunFolder.resume(unfinished)
    assert settings.checkpoint_every == 7
    with pytest.raises(InputError, match="the weights or the normalisation of its backbone"):
        folder.check({**folder.identity, "backbone": "another"})
    folder.close()


# ---------------------------------------------------------------------- faults


class Model:
    """Something that can be exported."""

    def exported(self) -> bytes:
        return b"weights"


def short_run(path: Path, settings: RunConfig, n: int = 3) -> None:
    """A run of ``n`` tasks, resumed if it was begun: as the runner does it."""
    if (path / "config.yaml").exists():
        folder, _ = RunFolder.resume(path)
    else:
        folder = RunFolder.create(path, settings, settings_identity(settings), "the command")
    try:
        state = folder.load_checkpoint()
        folder.write_text("stream.json", "the stream")
        done = 0 if state is None else state["done"]
        if state is not None:
            folder.export(Model())
        folder.write_json("summary.json", {"status": "running"})
        while done < n:
            folder.add_metrics([(done, "loss", "train", done / 3), (done, "map", "seen", 0.5)])
            done += 1
            folder.save_checkpoint({"done": done, "weights": torch.full((3,), float(done))})
            folder.export(Model())
            folder.write_json("summary.json", {"status": "running"})
        folder.write_end({"status": "finished"})
    except RunError:
        with suppress(RunError):
            folder.write_end({"status": "failed"})
        raise
    finally:
        folder.close()


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Frees the locks of processes that were killed."""
    locks: list[FileLock] = []

    class Noted(FileLock):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            locks.append(self)

    monkeypatch.setattr(run_folder, "FileLock", Noted)
    monkeypatch.setattr(run_folder, "environment", lambda *_: {"command": "the command"})
    monkeypatch.setattr(RunConfig, "checked", lambda self: self)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # its call is a step, its time is not needed

    def release() -> None:
        for lock in locks:
            lock.release(force=True)
        locks.clear()

    return release


@pytest.mark.parametrize("fault", ["killed half-way", "killed before", "full"])
def test_a_run_resumes_after_a_fault_at_any_step(
    fault: Fault,
    settings: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    released: Callable[[], None],
) -> None:
    """Every write, rename and fsync of a run fails once; it ends at the same files."""
    whole = tmp_path / "whole"
    steps = count_steps(monkeypatch, lambda: short_run(whole, settings))
    # Of the checkpoints the digest may list one more that is gone.
    compared = contents(whole).keys() - {"checkpoint.sha256", "SHA256SUMS"}
    want = {name: contents(whole)[name] for name in compared}
    assert steps > 60
    for at in range(steps):
        path = tmp_path / f"{at}"
        with suppress(RunError):  # of a full disk
            with_fault(monkeypatch, at, fault, lambda path=path: short_run(path, settings))
        released()
        ended = (path / "summary.json").exists() and summary(path)["status"] == "finished"
        if not ended:
            short_run(path, settings)
        found = contents(path)
        assert {name: found[name] for name in compared} == want, f"step {at}"
        assert found.keys() == contents(whole).keys()
        assert not list(path.glob(".*.tmp"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_folders_that_cannot_be_written_to_are_told_with_exit_code_1(
    number: int,
    unfinished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    before = contents(unfinished)
    resume = ["run", "--resume", str(unfinished)]
    new = ["run", "digits", "strategy=ncm", "seed=1", "--out", str(tmp_path / "new")]
    for command, owner, name, says in (
        (resume, files, "write", f"cannot be written: {os.strerror(number)}"),
        (resume, FileLock, "acquire", f"to run folder {unfinished}: {os.strerror(number)}"),
        (new, Path, "mkdir", f"cannot be created: {os.strerror(number)}"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, refuse)
            assert main([*command, "--quiet"]) == 1
        assert says in capsys.readouterr().err
    assert contents(unfinished) == before


# ---------------------------------------------------------------------- environment


def test_versions_with_which_a_run_is_resumed_are_noted(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resumed(**changes: Any) -> list[dict[str, Any]]:
        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "environment", lambda *_: {**made, **changes, "time": ""})
            RunFolder.resume(unfinished)[0].close()
        now = json.loads((unfinished / "environment.json").read_text())
        return list(now.get("resumed_with", ()))

    made = json.loads((unfinished / "environment.json").read_text())
    assert resumed() == []
    first = {"torch": "2.0", "gpu": "H100"}
    assert resumed(**first) == resumed(**first) == [first]


def test_the_environment_file_names_versions() -> None:
    found = environment("auto", "the command")
    # Metadata leave out how it was built (+cu121) where the index serves one build.
    assert found["torch"] in (torch.__version__, torch.__version__.partition("+")[0])
    assert found["command"] == "the command"
    assert {"cl_prompts", "python", "avalanche", "platform", "git_revision"} <= set(found)
    used = pick_device("auto")
    assert found["device"] == str(used) != "auto"
    assert ("gpu" in found) is (used.type == "cuda")
