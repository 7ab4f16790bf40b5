"""The folder of a run: locked, valid at any time, and resumed to the same files."""

import errno
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from cl_prompts.backbones.devices import pick_device
from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder import folder as run_folder
from cl_prompts.experiments.run_folder.files import MODEL, READ, SUMS_FILE, check_sums
from cl_prompts.experiments.run_folder.folder import RunFolder, environment, load_state
from cl_prompts.experiments.run_folder.identity import IDENTITY_FILE, settings_identity
from cl_prompts.experiments.run_folder.plans import settings_of
from tests.experiments.commands import rows, summary, unfinished_copy
from tests.experiments.faults import Fault, contents, count_steps, with_fault


@pytest.fixture
def settings() -> RunConfig:
    return plan("digits", ["strategy=ncm", "seed=4"])[0]


@pytest.fixture
def unfinished(mvp_run: Path, tmp_path: Path) -> Path:
    """A copy of a run that says that it is running."""
    return unfinished_copy(mvp_run, tmp_path / "copy")


def opened(path: Path, settings: RunConfig) -> AbstractContextManager[RunFolder]:
    """A folder whose run is identified by its settings."""
    return RunFolder.opened(path, settings, settings_identity(settings), "the command")


def resumed(path: Path) -> AbstractContextManager[RunFolder]:
    """The folder of an unfinished run, as for a run of the same identity."""
    return RunFolder.opened(path, settings_of(path), files.read_json(path / IDENTITY_FILE), "")


def test_a_finished_folder_holds_everything(mvp_run: Path) -> None:
    names = {file.name for file in mvp_run.iterdir()}
    known = {"config.yaml", "environment.json", "identity.json", "stream.json", "summary.json"}
    known |= {"metrics.csv", "checkpoint"}
    assert names >= {*known, MODEL}
    known |= {"model/model.json", "model/model.safetensors"}
    page = (Path(__file__).parents[3] / "runs" / "README.md").read_text()
    listed = {*names, *READ} - {MODEL}
    assert all(f"`{n}`" in page for n in listed if not n.startswith((".", "events.")))
    sums = (mvp_run / "SHA256SUMS").read_text()
    assert all(f"  {name}\n" in sums for name in known)
    run_settings = RunConfig.from_yaml((mvp_run / "config.yaml").read_text())
    assert (run_settings.strategy, run_settings.options["buffer_size"]) == ("mvp", 30)
    assert summary(mvp_run)["command"].startswith("cl-prompts run digits strategy=mvp")
    found = load_state(mvp_run)
    assert found["tasks_done"] == 3
    assert not any(name.startswith("backbone.") for name in found["strategy"]["model"])


def test_folders_in_use_and_foreign_folders_are_refused(
    unfinished: Path, settings: RunConfig, refused: Callable[..., None]
) -> None:
    with resumed(unfinished):
        refused("another process is writing to run folder", "run", "--resume", str(unfinished))
    refused(f"resume one of {unfinished}", "run", "--resume", str(unfinished.parent))
    with pytest.raises(InputError, match="cannot be resumed"), opened(unfinished, settings):
        pass
    with resumed(unfinished):
        pass  # the lock was released


def test_metrics_are_those_of_the_checkpoint(unfinished: Path) -> None:
    kept = (unfinished / "metrics.csv").read_bytes()
    with resumed(unfinished) as folder:
        folder.load_checkpoint()
        folder.add_metrics([(1, "loss", "train", 0.1)])
        assert rows(unfinished)[-1] == ["1", "loss", "train", "0.1"]
        folder.load_checkpoint()
        assert (unfinished / "metrics.csv").read_bytes() == kept
        (unfinished / "checkpoint").unlink()
        assert folder.load_checkpoint() is None
        assert rows(unfinished) == [["samples_seen", "metric", "scope", "value"]]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.yaml", b"recipe: [", "config.yaml cannot be used: this is not a run"),
        ("config.yaml", b"\xff\xfe", "config.yaml cannot be read: it is not UTF-8"),
        ("summary.json", b'{"status": "fini', "summary.json is not JSON: restore it"),
        ("identity.json", b"{}", "cannot be resumed: the results of cl-prompts changed, NUMBERS"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(
    name: str, content: bytes, says: str, unfinished: Path, refused: Callable[..., None]
) -> None:
    (unfinished / name).write_bytes(content)
    before = contents(unfinished)
    refused(says, "run", "--resume", str(unfinished))
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
        with pytest.raises(InputError, match=says), opened(unfinished, settings_of(unfinished)):
            pass
        assert contents(unfinished) == before
    every = text.replace("checkpoint_every: 200", "checkpoint_every: 7")
    (unfinished / "config.yaml").write_text(every)
    with opened(unfinished, settings_of(unfinished)):
        pass


def short_run(path: Path, settings: RunConfig, n: int = 3) -> None:
    """A run of ``n`` tasks, resumed if it was begun: as the runner does it."""
    with opened(path, settings) as folder:
        state = folder.load_checkpoint()
        files.replace(path / "stream.json", [b"the stream"])
        done = 0 if state is None else state["done"]
        files.write_json(path / "summary.json", {"status": "running"})
        try:
            while done < n:
                folder.add_metrics([(done, "loss", "train", done / 3), (done, "map", "seen", 0.5)])
                done += 1
                folder.save_checkpoint({"done": done, "weights": torch.full((3,), float(done))})
                files.write_json(path / "summary.json", {"status": "running"})
            (path / MODEL).mkdir(exist_ok=True)
            files.replace(path / MODEL / "model.json", [b"card"])
            folder.write_end({"status": "finished"})
        except OSError:
            with suppress(OSError):
                files.write_json(path / "summary.json", {"status": "failed"})
            raise


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Frees the locks of processes that were killed."""
    locks: list[FileLock] = []

    class Noted(FileLock):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            locks.append(self)

    monkeypatch.setattr(files, "FileLock", Noted)
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
    """Every write, rename and fsync of a run fails once; it ends at the same files, except for
    notes on the environment."""
    whole = tmp_path / "whole"
    steps = count_steps(monkeypatch, lambda: short_run(whole, settings))
    want = contents(whole)
    assert steps > 50
    for at in range(steps):
        path = tmp_path / f"{at}"
        with suppress(OSError):  # of a full disk
            with_fault(monkeypatch, at, fault, lambda path=path: short_run(path, settings))
        released()
        ended = (path / "summary.json").exists() and summary(path)["status"] == "finished"
        if not ended:
            short_run(path, settings)
        found = contents(path)
        check_sums(path, found.keys() - {SUMS_FILE})
        assert {name for name in want if found[name] != want[name]} <= {
            "environment.json",
            SUMS_FILE,
        }, f"step {at}"
        assert not list(path.rglob(".*.tmp"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_folders_that_cannot_be_written_to_are_named_in_one_sentence(
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
    for command, owner, name in (
        (resume, files, "write"),
        (resume, FileLock, "acquire"),
        (new, Path, "mkdir"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, refuse)
            # A wrong path is bad input.
            assert main([*command, "--quiet"]) == (2 if number == errno.EACCES else 1)
        said = capsys.readouterr().err
        assert f": {os.strerror(number)}" in said
        assert said.count("\n") == 1
    assert contents(unfinished) == before


def test_versions_with_which_a_run_is_resumed_are_noted(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = json.loads((unfinished / "environment.json").read_text())
    for other in ("2.0", "2.1"):
        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "environment", lambda *_, other=other: {"torch": other})
            with resumed(unfinished):
                pass
    now = json.loads((unfinished / "environment.json").read_text())
    assert now == made | {"resumed_with": [{"torch": "2.0"}, {"torch": "2.1"}]}


def test_the_environment_file_names_versions() -> None:
    found = environment("auto", "the command")
    # Metadata leave out how it was built (+cu121) where the index serves one build.
    assert found["torch"] in (torch.__version__, torch.__version__.partition("+")[0])
    assert found["command"] == "the command"
    assert {"cl_prompts", "python", "avalanche", "platform", "git_revision"} <= set(found)
    used = pick_device("auto")
    assert found["device"] == str(used) != "auto"
    assert ("gpu" in found) is (used.type == "cuda")
