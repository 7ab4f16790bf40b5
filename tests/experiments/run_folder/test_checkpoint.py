"""Checkpoints: what comes back is what was saved, or a refusal."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.folder import (
    CHECKPOINT_FILE,
    load_state,
    plain_state,
    save_state,
)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "weights": torch.nn.Parameter(torch.rand(2, 3)),
        "half": torch.rand(3).bfloat16(),
        "empty": torch.zeros(0, 4),
        "rest": (None, True, -1, 2**80, float("inf"), "text", [1, {3: 0.1}]),
    }
    save_state(tmp_path, state)
    found = load_state(tmp_path)
    assert found["rest"] == state["rest"]
    for name in ("weights", "half", "empty"):
        assert found[name].dtype == state[name].dtype
        assert torch.equal(found[name], state[name].detach())


def test_a_view_is_saved_without_what_it_is_a_view_of(tmp_path: Path) -> None:
    save_state(tmp_path, {"row": torch.rand(1000, 1000)[0]})
    assert (tmp_path / CHECKPOINT_FILE).stat().st_size < 10_000


@pytest.mark.parametrize("value", [object(), {1, 2}, torch.zeros(2).numpy(), range(3)])
def test_other_objects_are_refused_by_their_place(value: object) -> None:
    with pytest.raises(InputError, match=r"state\.a\[1\] is of type"):
        plain_state({"a": [0, value]})


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    save_state(tmp_path, {"step": 1})
    file = tmp_path / CHECKPOINT_FILE
    whole = file.read_bytes()
    at = whole.index(b"step") + 6  # in the pickle: an archive would give another number
    for content in (b"", whole[:-1], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
        file.write_bytes(content)
        with pytest.raises(InputError, match="checkpoint is damaged: delete it to start this run"):
            load_state(tmp_path)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    class Planted:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "planted"),)

    torch.save({"state": Planted()}, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(InputError, match="is damaged"):
        load_state(tmp_path)
    assert not (tmp_path / "planted").exists()
