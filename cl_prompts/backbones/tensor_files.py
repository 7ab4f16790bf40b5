"""Files of tensors, read without executing anything in them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor


def read_tensors(path: Path) -> Any:
    """Read a ``.safetensors`` file, or one of torch's that holds tensors alone.

    Args:
        path: of the file.

    Returns:
        tensors by name, or whatever the file of torch's holds of tensors and plain values, on the
        CPU.

    Raises:
        OSError: there is no such file, or none that can be read.
        Exception: of any kind, which both libraries raise as their parsers meet something else.
    """
    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():
        # Of other kinds of files, before it refuses them.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def in_fp32(value: Tensor) -> Tensor:
    """The values of a tensor from a file, in fp32.

    Raises:
        ValueError: it holds none, or such as are not real and finite.

    >>> in_fp32(torch.ones(2, dtype=torch.float64))
    tensor([1., 1.])
    """
    if not value.is_floating_point():  # whole numbers are some quantised form
        raise ValueError("is no plain tensor: save the state_dict of a loaded model in fp32")
    values = value.float()
    if not bool(torch.isfinite(values).all()):
        raise ValueError("holds NaN or infinity: the file is damaged, or not meant for fp32")
    return values
