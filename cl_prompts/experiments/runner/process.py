"""What a run takes of its machine: threads, loader processes and memory."""

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

#: loader processes beside a GPU
_LOADERS = 8


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def loader_processes(device: torch.device) -> int:
    """Loader processes beside a device: none beside the CPU, whose cores they would take."""
    return max(1, min(_LOADERS, cores() - 1)) if device.type == "cuda" else 0


def takes_one_thread(run: RunConfig) -> bool:
    """Whether the operations of a run are too short to be divided: the embedded ViT on the CPU, at
    no more than twice its own image size.

    A fixed rule, since the number of threads enters the rounding of sums: one measured in each
    process would leave a seed without fixed numbers.
    """
    small = run.backbone["name"] == EMBEDDED and (run.backbone["image_size"] or 0) <= 64
    return small and pick_device(run.device).type == "cpu"


@contextmanager
def its_threads(*, one: bool) -> Iterator[None]:
    """Compute with one thread, or with as many as there are."""
    before = torch.get_num_threads()
    if one:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure anew: earlier runs of this process may have held more."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # Where there is no such file, the peak is that of the whole process.
    with suppress(OSError):
        # 5 resets the peak of resident memory, see proc(5).
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Peak of the main memory that this process held, in MiB, without its loader processes."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if found is not None:
            return int(found[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def peak_device_memory_mb(device: torch.device) -> float | None:
    """Peak of what torch allocated on a GPU, in MiB; None on other devices."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
