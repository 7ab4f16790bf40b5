"""Seeds derived from a run's seed, and draws that leave global generators alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

STRIDE = 1_000_003
"""A prime: runs with neighbouring seeds do not share derived seeds for small counts."""


def derived_seed(seed: int, count: int) -> int:
    """Derive a seed from the run's and a count of progress, so that a resumed run derives the same.

    Args:
        seed: of the run.
        count: samples seen, tasks started or classes seen: what distinguishes this draw.
    """
    return seed + STRIDE * count


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's global generators as if they were just seeded; restore them afterwards.

    Example:
        >>> before = torch.get_rng_state()
        >>> with seeded(1):
        ...     first = torch.rand(2)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
