"""Learning-rate schedules over the epochs of one task, as multipliers."""

from __future__ import annotations

import math

from cl_prompts.errors import unknown

SCHEDULES = ("constant", "cosine", "coda")


def check_schedule(name: str) -> None:
    """Raise ``InputError`` for a schedule that does not exist."""
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)


def learning_rate_factor(name: str, epoch: int, epochs: int) -> float:
    """What multiplies the learning rate in ``epoch`` (from 0) of ``epochs``.

    ``cosine``: (1 + cos(pi e / E)) / 2, MULTI-LANE's. ``coda``: cos(99 pi e / (200 (E - 1))),
    CODA-Prompt's, which ends at
    1.6 %; with a single epoch it stays at 1, where the published code divides by zero.
    """
    if name == "cosine":
        return (1 + math.cos(math.pi * epoch / epochs)) / 2
    if name == "coda" and epochs > 1:
        return math.cos(99 * math.pi * epoch / (200 * (epochs - 1)))
    return 1.0
