"""Files of tensors: read without a word, and nothing in them executed."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cl_prompts.backbones.tensor_files import read_tensors


def test_both_kinds_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        assert read_tensors(tmp_path / name)["a"].tolist() == [1, 1]


def test_a_pickle_is_refused_without_warnings(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(pickle.dumps(os.getcwd))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(pickle.UnpicklingError):
            read_tensors(file)
