"""The folder of a run: locked, valid at any time, and safe to load."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from cl_prompts.experiments.run_folder.checkpoint_files import CHECKPOINT_FILE
from filelock import FileLock

from cl_prompts.backbones.devices import pick_device
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.settings import Settings, plan
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder import folder as run_folder
from cl_prompts.experiments.run_folder.checkpoint import read
from cl_prompts.experiments.run_folder.files import temporary_of
from cl_prompts.experiments.run_folder.folder import RunFolder, environment
from cl_prompts.experiments.run_folder.identity import settings_identity
from tests.experiments.commands import summary
from tests.experiments.faults import Fault, contents, count_steps, with_fault


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
        "checkpoint",
        "checkpoint.previous",
        "learned.safetensors",
        "keys.npz",
        "confidence.json",
    }
    assert "  confidence.json\n" in (mvp_run / "SHA256SUMS").read_text()
    assert not any(name.startswith(".") for name in files)
    run_settings = Settings.from_yaml((mvp_run / "config.yaml").read_text())
    assert (run_settings.strategy, run_settings.options["buffer_size"]) == ("mvp", 30)
    assert summary(mvp_run)["command"].startswith("cl-prompts run digits strategy=mvp")
    found = read(mvp_run / CHECKPOINT_FILE)
    assert found.state["tasks_done"] == 3
    assert not any(name.startswith("backbone.") for name in found.state["strategy"]["model"])
    assert (mvp_run / "learned.safetensors").stat().st_size < 500_000
    mask = os.umask(0)
    os.umask(mask)
    assert {file.stat().st_mode & 0o777 for file in mvp_run.iterdir()} == {0o666 & ~mask}


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
        RunFolder.create(unfinished, settings, {}, "")
    # What a sentence asks to type executes nothing that a name holds.
    other = unfinished.rename(unfinished.with_name("x;echo mine"))
    with pytest.raises(InputError, match=f"--resume {re.escape(shlex.quote(str(other)))}$"):
        RunFolder.create(other, settings, {}, "")
    (unfinished.parent / "file").touch()
    with pytest.raises(InputError, match="file/run cannot be created"):
        RunFolder.create(unfinished.parent / "file" / "run", settings, {}, "")


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("name", [".lock", ".reserve"])
def test_links_in_a_folder_are_not_written_through(
    name: str, link: Callable[[Path, Path], None], unfinished: Path
) -> None:
    victim = unfinished.parent / "victim"
    victim.write_text("mine")
    (unfinished / name).unlink(missing_ok=True)
    link(unfinished / name, victim)
    refused = pytest.raises(InputError, match=r"holds a link called \.lock: remove it")
    with refused if name == ".lock" else nullcontext():
        RunFolder.resume(unfinished)[0].close()
    assert victim.read_text() == "mine"


# ---------------------------------------------------------------------- damages


def damage(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


REFUSED = [
    ("config.yaml", b"recipe: [", "config.yaml cannot be used: these are not the settings of"),
    ("config.yaml", b"\0" * 50, "config.yaml cannot be used: these are not the settings of"),
    ("config.yaml", b"\xff\xfe", "config.yaml cannot be read: it is not UTF-8"),
    ("config.yaml", None, "it holds no config.yaml, so there is nothing to resume"),
    ("summary.json", b'{"status": "fini', "summary.json is damaged: it is not JSON"),
    ("summary.json", b'{"remarks": 5}', "summary.json is damaged: remarks is 5: it should"),
]


@pytest.mark.parametrize(("name", "content", "says"), REFUSED)
def test_a_damaged_file_is_refused_in_one_sentence(
    name: str,
    content: bytes | None,
    says: str,
    unfinished: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(unfinished, name, content)
    before = contents(unfinished)
    assert main(["run", "--resume", str(unfinished)]) == 2
    told = capsys.readouterr().err.strip()
    assert says in told
    assert "\n" not in told
    assert contents(unfinished) == before
    assert not (unfinished / ".lock").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lr: 0.005", "lr: 0.05", "its setting options.lr was 0.005"),
        ("strategy: mvp", "strategy: mvq", "unknown strategy 'mvq': did you mean"),
        ("  buffer_size: 30", "  bufer_size: 30", "config.yaml cannot be used: .*bufer_size"),
    ],
)
def test_changed_settings_are_refused(old: str, new: str, says: str, unfinished: Path) -> None:
    text = (unfinished / "config.yaml").read_text()
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
    folder.close()


def test_the_end_is_written_in_a_folder_that_became_read_only(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    folder, _ = RunFolder.resume(unfinished)
    with monkeypatch.context() as patch:
        patch.setattr(files, "create", refuse)
        patch.setattr(files, "remove", refuse)
        folder.write_end({"status": "failed"})
    assert summary(unfinished) == {"status": "failed"}
    folder.close()


def test_a_damaged_stream_is_written_anew(unfinished: Path) -> None:
    text = (unfinished / "stream.json").read_text()
    folder = RunFolder(unfinished)
    folder.keep_stream(text)
    assert not folder.remarks
    for content in (b"", b"\0" * 20, text.replace("1", "2", 1).encode(), None):
        damage(unfinished, "stream.json", content)
        folder.keep_stream(text)
        assert (unfinished / "stream.json").read_text() == text
    assert len(folder.remarks) == 3
    folder.close()


# ---------------------------------------------------------------------- faults


class Model:
    """Something that can be exported."""

    def exported(self) -> bytes:
        return b"weights"


def open_or_create(path: Path, settings: Settings) -> RunFolder:
    """The folder of a run, begun or resumed, with the state as it is."""
    if (path / "config.yaml").exists():
        return RunFolder.resume(path)[0]
    return RunFolder.create(path, settings, settings_identity(settings), "the command")


def short_run(path: Path, settings: Settings, n: int = 3) -> None:
    """A run of ``n`` tasks, resumed if it was begun: as the runner does it."""
    folder = open_or_create(path, settings)
    try:
        state = folder.load_checkpoint()
        folder.keep_stream("the stream")
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
    monkeypatch.setattr(Settings, "checked", lambda self: self)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # its call is a step, its time is not needed

    def release() -> None:
        for lock in locks:
            lock.release(force=True)
        locks.clear()

    return release


@pytest.mark.parametrize("fault", ["killed half-way", "killed before", "full"])
def test_a_run_goes_on_after_a_fault_at_any_step(
    fault: Fault,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    released: Callable[[], None],
) -> None:
    """Every write, rename and fsync of a run fails once; it ends at the same files."""
    whole = tmp_path / "whole"
    steps = count_steps(monkeypatch, lambda: short_run(whole, settings))
    want = contents(whole)
    assert steps > 60
    for at in range(steps):
        path = tmp_path / f"{at}"
        with suppress(RunError):  # of a full disk
            with_fault(monkeypatch, at, fault, lambda path=path: short_run(path, settings))
        released()
        finished = (path / "summary.json").exists() and (
            json.loads((path / "summary.json").read_text())["status"] == "finished"
        )
        if not finished:
            if not (path / "config.yaml").exists():
                with pytest.raises(InputError, match="so there is nothing to resume"):
                    RunFolder.resume(path)
                shutil.rmtree(path)
            short_run(path, settings)
        assert contents(path) == want, f"step {at}"


def test_the_end_of_a_run_is_written_on_a_full_disk(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk of so many bytes that the second checkpoint does not fit."""
    original = files.create
    limit = 2**16 + 10_000

    def create(path: Path, parts: Iterable[bytes]) -> None:
        data = b"".join(parts)
        held = sum(f.stat().st_size for f in path.parent.iterdir() if f.is_file() and f != path)
        original(path, [data[: max(0, limit - held)]])
        if held + len(data) > limit:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    folder = RunFolder.create(tmp_path / "run", settings, {}, "")
    monkeypatch.setattr(files, "create", create)
    folder.save_checkpoint({"weights": torch.zeros(1000)})
    with pytest.raises(RunError, match="checkpoint cannot be written: No space left on device"):
        folder.save_checkpoint({"weights": torch.zeros(2000)})
    with pytest.raises(RunError, match=r"long\.txt cannot be written: No space left on device"):
        folder.write_text("long.txt", "x" * limit)
    folder.write_text("fill", "x" * (limit - 10_000 - 2**16))
    with pytest.raises(RunError, match=r"summary\.json cannot be written"):
        folder.write_json("summary.json", {"x": "y" * 20_000})
    folder.write_end({"status": "failed", "x": "y" * 20_000})
    assert summary(folder.path)["status"] == "failed"
    assert not list(folder.path.glob(".*.tmp"))
    folder.close()


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
        (resume, files, "create", f".reserve cannot be written: {os.strerror(number)}"),
        (resume, FileLock, "acquire", f"to run folder {unfinished}: {os.strerror(number)}"),
        (new, Path, "mkdir", f"cannot be created: {os.strerror(number)}"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, refuse)
            assert main([*command, "--quiet"]) == 1
        assert says in capsys.readouterr().err
    assert contents(unfinished) == before


def test_what_lies_behind_a_link_is_not_removed(tmp_path: Path) -> None:
    others = tmp_path / "others" / temporary_of(Path("theirs")).name
    others.parent.mkdir()
    others.touch()
    folder = tmp_path / "run"
    folder.mkdir()
    ours = temporary_of(folder / "ours")
    ours.touch()
    (folder / "images").symlink_to(others.parent)
    RunFolder(folder).close()
    assert others.exists()
    assert not ours.exists()


def test_what_differs_between_runs_of_a_command_is_kept(tmp_path: Path) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    folder = RunFolder.create(
        tmp_path / "run", settings, settings_identity(settings), "", ["seed", "options.lr"]
    )
    assert folder.varied() == ["seed", "options.lr"]
    folder.close()
    folder, _ = RunFolder.resume(tmp_path / "run")
    assert folder.varied() == ["seed", "options.lr"]
    folder.close()


def test_versions_with_which_a_run_goes_on_are_noted(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resumed(**changes: Any) -> list[dict[str, Any]]:
        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "environment", lambda *_: {**made, **changes, "time": ""})
            RunFolder.resume(unfinished)[0].close()
        now = json.loads((unfinished / "environment.json").read_text())
        differs = {key for key in {**made, **now} if made.get(key) != now.get(key)}
        assert differs <= {"resumed_with"}
        return list(now.get("resumed_with", ()))

    made = json.loads((unfinished / "environment.json").read_text())
    assert resumed() == []
    first = {"torch": "2.0", "gpu": "H100"}
    assert resumed(**first) == resumed(**first) == [first]
    assert resumed(torch="2.0") == [first, {"gpu": None}]


def test_no_revision_is_that_of_a_repository_around_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking it would carry out what its configuration names, too."""
    module = tmp_path / "site-packages/cl_prompts/experiments/run_folder/folder.py"
    module.parent.mkdir(parents=True)
    author = "-c user.name=a -c user.email=a"
    asks = "config core.fsmonitor 'touch ran;'"
    for command in ("init", f"{author} commit --allow-empty -m a", asks):
        subprocess.run(["git", *shlex.split(command)], cwd=tmp_path, check=True)
    monkeypatch.setattr(run_folder, "__file__", str(module))
    assert run_folder._revision.__wrapped__() is None
    assert not list(tmp_path.rglob("ran"))


def test_the_environment_names_versions() -> None:
    found = environment("auto", "the command")
    # Metadata leave out how it was built (+cu121) where the index serves one build.
    assert found["torch"] in (torch.__version__, torch.__version__.partition("+")[0])
    assert found["command"] == "the command"
    assert {"cl_prompts", "python", "avalanche", "platform", "git_revision"} <= set(found)
    used = pick_device("auto")
    assert found["device"] == str(used) != "auto"
    assert ("gpu" in found) is (used.type == "cuda")
