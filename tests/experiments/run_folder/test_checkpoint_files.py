"""One intact checkpoint is there whenever a process stops."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from cl_prompts.experiments.run_folder.checkpoint_files import CheckpointFiles

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder import checkpoint_files
from cl_prompts.experiments.run_folder.checkpoint import Checkpoint, DamagedCheckpoint
from tests.experiments.faults import Fault, count_steps, flipped, with_fault


def save(folder: Path, *steps: int) -> CheckpointFiles:
    kept = CheckpointFiles(folder)
    for step in steps:
        kept.save(Checkpoint({"step": step}, {}, {}))
    return kept


def step_of(folder: Path) -> int | None:
    found, _ = CheckpointFiles(folder).find()
    return None if found is None else found.state["step"]


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("fault", get_args(Fault))
def test_a_fault_at_any_step_leaves_the_last_or_the_new_one(
    fault: Fault, before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = tmp_path / "counted"
    counted.mkdir()
    save(counted, *range(before))
    steps = count_steps(monkeypatch, lambda: save(counted, before))
    last = before - 1 if before else None
    for at in range(steps):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        save(folder, *range(before))
        try:
            with_fault(monkeypatch, at, fault, lambda folder=folder: save(folder, before))
        except OSError:
            assert fault == "full"
        assert step_of(folder) in (last, before)
        save(folder, 7)
        assert step_of(folder) == 7


def flip(file: Path) -> None:
    file.write_bytes(flipped(file.read_bytes(), 8 * file.stat().st_size - 3))


def test_a_damaged_one_is_named_and_the_older_one_stays_until_there_are_two(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    flip(tmp_path / "checkpoint")
    kept = CheckpointFiles(tmp_path)
    found, remark = kept.find()
    assert found is not None
    assert found.state == {"step": 1}
    assert remark is not None
    assert "checkpoint is damaged (the checksum of its tensors differs): the older" in remark
    kept.save(Checkpoint({"step": 3}, {}, {}))
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["checkpoint", "checkpoint.damaged", "checkpoint.previous"]
    assert step_of(tmp_path) == 3
    (tmp_path / "checkpoint").unlink()
    assert step_of(tmp_path) == 1
    flip(tmp_path / "checkpoint.previous")
    with pytest.raises(InputError, match=r"so delete checkpoint\.previous to start this run again"):
        step_of(tmp_path)


def test_of_those_saved_after_a_damaged_one_the_older_is_kept_as_such(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    flip(tmp_path / "checkpoint")
    kept = CheckpointFiles(tmp_path)
    kept.find()
    for step in (3, 4):
        kept.save(Checkpoint({"step": step}, {}, {}))
    (tmp_path / "checkpoint").unlink()
    assert step_of(tmp_path) == 3


def test_a_disk_that_loses_what_is_written_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = save(tmp_path, 1)

    def lost(path: Path) -> None:
        raise DamagedCheckpoint(path, "the checksum of its tensors differs")

    monkeypatch.setattr(checkpoint_files, "verify", lost)
    with pytest.raises(RunError, match="the disk does not keep what is written to it"):
        kept.save(Checkpoint({"step": 2}, {}, {}))
    assert step_of(tmp_path) == 1
