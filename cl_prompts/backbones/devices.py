"""Devices that models run on: what they support, threads and memory of the process."""

import os
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch

from cl_prompts.errors import InputError


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """Resolve a device name; ``"auto"`` is the GPU if there is one, else the CPU.

    Raises:
        InputError: not a device, or not available on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # Only an allocation shows whether the device exists.
        found = torch.empty(1, device=device)
        if isinstance(name, str):
            found.item()  # "meta", which is for code that counts, cannot be read
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(
            f"device {str(name)!r} is not available here: use device=auto or device=cpu"
        ) from error
    return device


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ``InputError`` if the device does not support bf16 and it is requested."""
    # Every CPU computes bf16, at worst slowly; older GPUs only emulate it.
    emulated = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and emulated:
        raise InputError(f"precision bf16 is not supported by device {device}: use precision=fp32")


@cache
def computes_bf16(device: torch.device) -> bool:
    """Return whether a device is faster in bf16 than in fp32.

    A CPU with bf16 instructions multiplies two matrices in both: some, such as virtual machines
    that hide AMX, need twice the time in bf16.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        if device.type == "cpu" and ("avx512_bf16" in flags or "amx_bf16" in flags):
            return _seconds_of_product(torch.bfloat16) < 0.8 * _seconds_of_product(torch.float32)
    return False


def _seconds_of_product(dtype: torch.dtype) -> float:
    matrix = torch.ones(1024, 1024, dtype=dtype)
    times = [time.process_time()]
    for _ in range(5):
        matrix @ matrix
        times.append(time.process_time())
    return min(end - start for start, end in pairwise(times))


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def threads(*, one: bool) -> Iterator[None]:
    """Compute with one thread, or with all; restore the number afterwards."""
    before = torch.get_num_threads()
    if one:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peaks, which earlier runs of this process may have set."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # Without this file, the peak is that of the whole process.
    with suppress(OSError):
        # 5 resets the peak of resident memory, see proc(5).
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> dict[str, float | None]:
    """Return the peaks of this process, without its loader processes, and of the GPU, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if found is not None:
            peak = int(found[1])
    on_gpu = device.type == "cuda"
    device_peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None
    return {"peak_memory_mb": peak / 2**10, "peak_device_memory_mb": device_peak}
