"""Prompts on disk."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cl_prompts.errors import InputError
from cl_prompts.prompts.files import read_prompts, set_initial
from cl_prompts.prompts.pools import SharedTokens, TokenPool


def test_safetensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "prompts.safetensors"
    prompts = {"shared": torch.randn(2, 3, 4), "entries": torch.randn(5, 2, 3, 4)}
    save_file(prompts, path)
    for name, values in prompts.items():
        assert torch.equal(read_prompts(path, name), values)
    with pytest.raises(InputError, match="cannot read prompts 'entry' from"):
        read_prompts(path, "entry")


def test_published_files_are_block_major_rows(tmp_path: Path) -> None:
    rows = torch.arange(10 * 60 * 8, dtype=torch.float32).view(10, 60, 8)
    torch.save(rows, tmp_path / "e_prompt.pt")
    pool = TokenPool(10, (2, 3, 4), 20, 8)
    set_initial(pool.values, read_prompts(tmp_path / "e_prompt.pt", "entries"))
    assert torch.equal(pool.values[7, 1], rows[7, 20:40])
    torch.save(rows[:1, :20], tmp_path / "g_prompt.pt")
    shared = SharedTokens((0, 1), 10, 8)
    # the only ones, whatever named
    set_initial(shared.values, read_prompts(tmp_path / "g_prompt.pt", "shared"))
    assert torch.equal(shared.values[1], rows[0, 10:20])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    pool = TokenPool(10, (2, 3), 4, 8)
    for shape in ((10, 8, 4), (5, 2, 4, 8), (20, 4, 8), (640,)):
        with pytest.raises(InputError, match="do not fit prompts of shape"):
            set_initial(pool.values, torch.zeros(shape))
    (tmp_path / "text.pt").write_text("no tensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    torch.save({"a": 3}, tmp_path / "number.pt")
    torch.save(Path("x"), tmp_path / "object.pt")  # would have to be executed
    for name in ("none.pt", "text.pt", "text.safetensors", "number.pt", "object.pt"):
        with pytest.raises(InputError, match="cannot read prompts 'a' from"):
            read_prompts(tmp_path / name, "a")
