"""Ranks that write nothing; a real job is in tests/families/test_ranks.py."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cl_prompts.backbones import ranks
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder.folder import RunFolder, record_loss
from cl_prompts.experiments.runner import execution
from cl_prompts.experiments.runner.other_ranks import (
    announce,
    announce_end,
    check_start,
    take_part,
)
from cl_prompts.experiments.runner.task_loop import TaskLoop
from tests.experiments.commands import PROBE, run, summary
from tests.experiments.runner.test_execution import unfinished_copy


def test_ranks_go_on_from_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: Any = SimpleNamespace(
        parts=SimpleNamespace(strategy=SimpleNamespace(samples_seen=64)),
        folder=SimpleNamespace(path=tmp_path),
    )
    check_start(begun)
    monkeypatch.setattr(ranks, "highest", lambda *numbers: [64, 0])  # the other one begins anew
    with pytest.raises(InputError, match="from sample 64, and another from 0: to be resumed"):
        check_start(begun)


def test_a_rank_that_is_lost_before_the_first_step_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(run: TaskLoop) -> None:
        raise RunError("rank 0 of 2 waited in vain")

    monkeypatch.setattr(execution, "check_start", lost)
    code, (folder,) = run(tmp_path, "digits", *PROBE)
    assert (code, summary(folder)["status"]) == (1, "failed")


def test_without_others_nothing_is_sent(tmp_path: Path) -> None:
    nothing: Any = None  # not even looked at
    announce(tmp_path, nothing)
    announce_end()


@pytest.mark.parametrize("after", [False, True])
def test_a_rank_records_that_the_writer_of_the_run_is_gone(
    after: bool, probe_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its training, or when that was done and the writer had still to write its end."""
    folder = unfinished_copy(probe_run, tmp_path / "run")

    def lost(*given: object) -> None:
        raise RunError("rank 1 of 2 waited in vain")

    message = {
        "home": "/elsewhere",
        "folder": str(folder),
        "settings": (folder / "config.yaml").read_text(),
    }
    sent = iter([json.dumps(message)])
    monkeypatch.setattr(TaskLoop, "train", (lambda *given: None) if after else lost)
    monkeypatch.setattr(ranks, "broadcast_text", lambda text: next(sent, None) or lost())
    with pytest.raises(RunError, match="in vain"):
        take_part()
    assert (summary(folder)["status"], summary(folder)["error"]) == (
        "failed",
        "rank 0 was lost: rank 1 of 2 waited in vain",
    )
    record_loss(folder, "again")  # it has written the end
    assert "again" not in (folder / "summary.json").read_text()
    running = unfinished_copy(probe_run, tmp_path / "running")
    writer = RunFolder(running)
    record_loss(running, "again")  # it is there
    assert summary(running)["status"] == "running"
    # One that was killed gives up its lock a moment later.
    monkeypatch.setattr(time, "sleep", lambda seconds: writer.close() if seconds else None)
    record_loss(running, "again")
    assert summary(running)["status"] == "failed"
