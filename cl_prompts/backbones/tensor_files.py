"""Files of tensors, read without executing anything in them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from cl_prompts.reading import TENSORS, check_file


def read_tensors(path: Path) -> Any:
    """Read a ``.safetensors`` file, or one of torch's that holds tensors alone.

    Returns:
        tensors by name, or whatever the file of torch's holds of tensors and plain values, on the
        CPU.

    Raises:
        OSError: there is no such file, or none that can be read.
        Exception: of any kind, which both libraries raise as their parsers meet something else.
    """
    check_file(path, TENSORS)
    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():
        # Of other kinds of files, before it refuses them.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)
