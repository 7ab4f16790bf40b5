"""How many processes load the images of a run."""

from __future__ import annotations

import os

import torch

from cl_prompts.datasets.dataset import ImageSet

#: loader processes that one GPU gets at most, where their number is chosen
MOST = 8


def resolved_workers(asked: int | None, images: ImageSet, device: torch.device) -> int:
    """Loader processes of a run: as asked for, or chosen by device and source of the images.

    None beside a network that computes on the CPU, whose cores they would take, and where reading
    an image is no work: it lies in memory, and nothing random is done to it. Otherwise a GPU gets
    one for each core but one, up to 8. Views are drawn by key, so the numbers are the same.

    Args:
        asked: the setting; None to choose.
        images: of training.
        device: of the run.
    """
    if asked is not None:
        return asked
    if device.type != "cuda" or (images.is_plain and not images.files):
        return 0
    return max(1, min(MOST, _cores() - 1))


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
