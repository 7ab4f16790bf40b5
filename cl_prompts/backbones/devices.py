"""Devices that models run on, and what they support."""

from __future__ import annotations

import torch

from cl_prompts.errors import InputError


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """Resolve a device name; ``"auto"`` is the GPU if there is one, else the CPU.

    The name "meta" is refused, since that device computes nothing; ``torch.device("meta")`` is
    accepted, for counting costs.

    Raises:
        InputError: not a device, or not available on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        # torch also accepts cpu:1, which does not exist.
        if name == "meta" or (device.type == "cpu" and device.index):
            raise RuntimeError(f"{device} computes nothing")
        # Only an allocation shows whether the device exists.
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(
            f"device {str(name)!r} is not available here: use device=auto or device=cpu"
        ) from error
    return device


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ``InputError`` if the device does not support bf16 and it is requested."""
    if precision != "bf16" or device.type == "cpu":  # every CPU computes bf16, at worst slowly
        return
    try:
        x = torch.ones(8, 8, dtype=torch.bfloat16, device=device)
        fine = bool(torch.isfinite(x @ x).all())
        if device.type == "cuda":
            # Older GPUs emulate bf16.
            fine = fine and torch.cuda.get_device_capability(device)[0] >= 8
    except (RuntimeError, TypeError):
        fine = False
    if not fine:
        raise InputError(f"precision bf16 is not supported by device {device}: use precision=fp32")
