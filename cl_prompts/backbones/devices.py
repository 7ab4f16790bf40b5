"""Choice of a device, and refusal of what it cannot do."""

from __future__ import annotations

import torch

from cl_prompts.errors import InputError


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """Resolve a device name; ``"auto"`` is the GPU if there is one, else the CPU.

    A device given by the name "meta", which computes nothing, is refused; ``torch.device("meta")``
    is taken, as what counts costs needs it.

    Raises:
        InputError: not a device, or not present on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        # There is one CPU, and torch takes cpu:1, too.
        if name == "meta" or (device.type == "cpu" and device.index):
            raise RuntimeError(f"{device} computes nothing")
        # A device that torch knows by name may be missing here: only an allocation tells.
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(
            f"device {str(name)!r} is not available here: use device=auto or device=cpu"
        ) from error
    return device


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ``InputError`` if bf16 is requested and the device does not support it."""
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
