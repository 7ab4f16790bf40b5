"""Peak of the memory that a run takes, in the main memory and on its device."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure anew: what the process took before is no peak of this run.

    Where the kernel has no such thing, or does not allow it, the peak of the main memory stays that
    of the whole process, earlier runs included.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        _CLEAR.write_text("5")
    except OSError:
        return  # a peak since the start of the process is an upper bound


def peak_memory_mb() -> float:
    """Peak of the main memory that this process held, in MiB, since :func:`reset_peak_memory`;
    its loader processes are not counted."""
    lines = _STATUS.read_text().splitlines() if _STATUS.is_file() else []
    held = [line.split() for line in lines if line.startswith("VmHWM:")]
    if held:
        return int(held[0][1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def peak_device_memory_mb(device: torch.device) -> float | None:
    """Peak of what torch allocated on a GPU, in MiB; None on other devices."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) / 2**20
