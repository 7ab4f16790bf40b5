"""Threads and memory of the process of a run."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from cl_prompts.backbones.catalog import EMBEDDED
from cl_prompts.backbones.devices import pick_device
from cl_prompts.experiments.recipes.run_config import RunConfig


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def takes_one_thread(run: RunConfig) -> bool:
    """Return whether a run computes with one thread: the embedded ViT on the CPU, at no more than
    twice its own image size.

    The rule is fixed, not measured, because the number of threads changes the rounding of sums.
    """
    small = run.backbone["name"] == EMBEDDED and (run.backbone["image_size"] or 0) <= 64
    return small and pick_device(run.device).type == "cpu"


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
