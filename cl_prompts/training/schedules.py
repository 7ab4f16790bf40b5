"""Learning-rate schedules over the epochs of one task, as multipliers."""

from __future__ import annotations

import math
from typing import Literal

from torch.optim import Optimizer

Schedule = Literal["constant", "cosine", "coda"]


def scale_learning_rates(optimizer: Optimizer, factor: float) -> None:
    """Set each parameter group's rate to ``factor`` times its initial one."""
    for group in optimizer.param_groups:
        # Groups keep their first rate, since factors are of it and not of the last one.
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def learning_rate_factor(name: Schedule, epoch: int, epochs: int) -> float:
    """Factor on the learning rate in ``epoch`` (from 0) of ``epochs``.

    ``cosine``: (1 + cos(pi e / E)) / 2, MULTI-LANE's. ``coda``: cos(99 pi e / (200 (E - 1))),
    CODA-Prompt's, which ends at 1.6 %; with a single epoch it is 1, where the published code
    divides by zero.
    """
    if name == "cosine":
        return (1 + math.cos(math.pi * epoch / epochs)) / 2  # MULTI-LANE's
    if name == "coda" and epochs > 1:
        return math.cos(99 * math.pi * epoch / (200 * (epochs - 1)))
    return 1.0
