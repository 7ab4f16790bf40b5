"""Checkpoints: what comes back is what was saved, or the one before, or a refusal."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.checks import sha256
from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.checkpoint import (
    CHECKPOINT_FILE,
    DIGESTS_FILE,
    PREVIOUS_FILE,
    Checkpoint,
    Checkpoints,
    plain,
)
from tests.experiments.faults import contents, flipped


def saved(folder: Path, *steps: int) -> Checkpoints:
    kept = Checkpoints(folder)
    for step in steps:
        kept.save(Checkpoint({"step": step}, {}))
    return kept


def loaded(folder: Path) -> Any:
    found, _ = Checkpoints(folder).load()
    return None if found is None else found.state["step"]


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "weights": torch.nn.Parameter(torch.rand(2, 3)),
        "half": torch.rand(3).bfloat16(),
        "empty": torch.zeros(0, 4),
        "rest": (None, True, -1, 2**80, float("inf"), "text", [1, {3: 0.1}]),
    }
    Checkpoints(tmp_path).save(Checkpoint(state, {"bytes": 3, "sha256": "a"}))
    found, warning = Checkpoints(tmp_path).load()
    assert found is not None
    assert warning is None
    assert found.metrics == {"bytes": 3, "sha256": "a"}
    assert found.state["rest"] == state["rest"]
    for name in ("weights", "half", "empty"):
        assert found.state[name].dtype == state[name].dtype
        assert torch.equal(found.state[name], state[name].detach())


def test_a_view_is_saved_without_what_it_is_a_view_of(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(Checkpoint({"row": torch.rand(1000, 1000)[0]}, {}))
    assert (tmp_path / CHECKPOINT_FILE).stat().st_size < 10_000


@pytest.mark.parametrize("value", [object(), {1, 2}, torch.zeros(2).numpy(), range(3)])
def test_other_objects_are_refused_by_their_place(value: object) -> None:
    with pytest.raises(InputError, match=r"state\.a\[1\] is of type"):
        plain({"a": [0, value]})


def test_the_older_of_two_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    assert loaded(tmp_path) is None
    saved(tmp_path, 1, 2)
    whole = contents(tmp_path)
    newest = tmp_path / CHECKPOINT_FILE
    for bit in range(0, 8 * len(whole[CHECKPOINT_FILE]), 997):
        newest.write_bytes(flipped(whole[CHECKPOINT_FILE], bit))
        assert loaded(tmp_path) == 1
    newest.write_bytes(whole[CHECKPOINT_FILE][:-1])
    kept = Checkpoints(tmp_path)
    found, warning = kept.load()
    assert found is not None
    assert "the run continues from checkpoint.previous" in str(warning)
    # The damaged one does not take the place of the good one before it.
    kept.save(Checkpoint({"step": 3}, {}))
    assert loaded(tmp_path) == 3
    assert (tmp_path / PREVIOUS_FILE).read_bytes() == whole[PREVIOUS_FILE]
    newest.unlink()
    (tmp_path / PREVIOUS_FILE).write_bytes(b"")
    with pytest.raises(InputError, match=r"no checkpoint .* is intact: delete checkpoint.previous"):
        loaded(tmp_path)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    class Planted:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "planted"),)

    file = tmp_path / CHECKPOINT_FILE
    torch.save({"state": Planted(), "metrics": {}}, file)
    (tmp_path / DIGESTS_FILE).write_text(sha256(file))
    with pytest.raises(pickle.UnpicklingError):
        loaded(tmp_path)
    assert not (tmp_path / "planted").exists()
