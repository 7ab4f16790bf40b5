"""Ranks that write nothing; a real job is in tests/families/test_ranks.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cl_prompts.backbones import ranks
from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.checkpoint import Checkpoint
from cl_prompts.experiments.run_folder.checkpoint_files import CheckpointFiles
from cl_prompts.experiments.runner.followers import (
    FollowedFolder,
    announce,
    announce_end,
    check_start,
)


def test_a_followed_folder_is_read_and_not_written(tmp_path: Path) -> None:
    CheckpointFiles(tmp_path).save(Checkpoint({"step": 3}, {"stream": "a"}, {}))
    before = sorted(tmp_path.iterdir())
    folder = FollowedFolder(tmp_path)
    folder.claim({"stream": "a"})
    assert folder.load_checkpoint() == {"step": 3}
    folder.write_json("summary.json", {})
    folder.write_end({"status": "finished"})
    folder.keep_stream("{}")
    folder.export(None)
    folder.add_metrics([(1, "loss", "train", 0.5)])
    folder.save_checkpoint({"step": 4})
    folder.close()
    assert sorted(tmp_path.iterdir()) == before
    assert folder.load_checkpoint() == {"step": 3}
    folder.claim({"stream": "b"})
    with pytest.raises(InputError):
        folder.load_checkpoint()


def test_ranks_go_on_from_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run: Any = SimpleNamespace(
        parts=SimpleNamespace(strategy=SimpleNamespace(samples_seen=64)),
        folder=SimpleNamespace(path=tmp_path),
    )
    check_start(run)
    monkeypatch.setattr(ranks, "highest", lambda *numbers: [64, 0])  # the other one begins anew
    with pytest.raises(InputError, match="from sample 64, and another from 0: to be resumed"):
        check_start(run)


def test_without_others_nobody_is_told(tmp_path: Path) -> None:
    nothing: Any = None  # not even looked at
    announce(tmp_path, nothing)
    announce_end()
