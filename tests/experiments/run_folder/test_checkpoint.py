"""Checkpoints: what comes back is what was saved, or the one before, or a refusal."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.checkpoint import (
    CHECKPOINT_FILE,
    PREVIOUS_FILE,
    load,
    plain,
    save,
)
from tests.experiments.faults import contents, flipped


def step_in(folder: Path) -> Any:
    found, _ = load(folder)
    return None if found is None else found["step"]


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "weights": torch.nn.Parameter(torch.rand(2, 3)),
        "half": torch.rand(3).bfloat16(),
        "empty": torch.zeros(0, 4),
        "rest": (None, True, -1, 2**80, float("inf"), "text", [1, {3: 0.1}]),
    }
    save(tmp_path, state)
    found, warning = load(tmp_path)
    assert found is not None
    assert warning is None
    assert found["rest"] == state["rest"]
    for name in ("weights", "half", "empty"):
        assert found[name].dtype == state[name].dtype
        assert torch.equal(found[name], state[name].detach())


def test_a_view_is_saved_without_what_it_is_a_view_of(tmp_path: Path) -> None:
    save(tmp_path, {"row": torch.rand(1000, 1000)[0]})
    assert (tmp_path / CHECKPOINT_FILE).stat().st_size < 10_000


@pytest.mark.parametrize("value", [object(), {1, 2}, torch.zeros(2).numpy(), range(3)])
def test_other_objects_are_refused_by_their_place(value: object) -> None:
    with pytest.raises(InputError, match=r"state\.a\[1\] is of type"):
        plain({"a": [0, value]})


def test_the_older_of_two_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    assert step_in(tmp_path) is None
    for step in (1, 2):
        save(tmp_path, {"step": step})
    whole = contents(tmp_path)
    newest = tmp_path / CHECKPOINT_FILE
    for bit in range(0, 8 * len(whole[CHECKPOINT_FILE]), 997):
        newest.write_bytes(flipped(whole[CHECKPOINT_FILE], bit))
        assert step_in(tmp_path) == 1
    newest.write_bytes(whole[CHECKPOINT_FILE][:-1])
    assert "the run continues from checkpoint.previous" in str(load(tmp_path)[1])
    # The damaged one does not take the place of the good one before it.
    save(tmp_path, {"step": 3})
    assert step_in(tmp_path) == 3
    assert (tmp_path / PREVIOUS_FILE).read_bytes() == whole[PREVIOUS_FILE]
    newest.unlink()
    (tmp_path / PREVIOUS_FILE).write_bytes(b"")
    with pytest.raises(InputError, match=r"no checkpoint .* is intact: delete checkpoint.previous"):
        load(tmp_path)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    class Planted:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "planted"),)

    buffer = io.BytesIO()
    torch.save({"state": Planted()}, buffer)
    content = buffer.getvalue()
    (tmp_path / CHECKPOINT_FILE).write_bytes(hashlib.sha256(content).digest() + content)
    with pytest.raises(pickle.UnpicklingError):
        load(tmp_path)
    assert not (tmp_path / "planted").exists()
