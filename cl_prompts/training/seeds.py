"""Seeds derived from a run's seed, and draws that leave global generators alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

#: A prime: runs with neighbouring seeds do not share derived seeds for small counts.
STRIDE = 1_000_003


def derived_seed(seed: int, count: int) -> int:
    """Derive a seed from the run's and a count of progress, so that a resumed run derives the same.

    Args:
        count: samples seen, tasks started or classes seen: what distinguishes this draw.
    """
    return seed + STRIDE * count


def seed_globals(seed: int) -> None:
    """Seed the global generators of torch, numpy and Python, from which code from outside may
    draw.

    >>> seed_globals(1)
    >>> first = (random.random(), np.random.rand())
    >>> seed_globals(1)
    >>> first == (random.random(), np.random.rand())
    True
    """
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # the largest that it takes


def global_states() -> dict[str, Any]:
    """States of the global generators of torch, on the CPU, of numpy and of Python, as checkpoints
    may hold them."""
    kind, words, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "numpy": (kind, torch.from_numpy(np.asarray(words).astype(np.int64)), *rest),
        "python": random.getstate(),
    }


def set_global_states(states: Mapping[str, Any]) -> None:
    """Inverse of :func:`global_states`; what is not there stays as it is."""
    torch.set_rng_state(states["torch"])
    if "numpy" in states:
        kind, words, *rest = states["numpy"]
        np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
    if "python" in states:
        random.setstate(states["python"])


@contextmanager
def borrowed_generator() -> Iterator[torch.Generator]:
    """Set torch's global generator of the CPU aside, and restore it afterwards."""
    generator = torch.default_generator
    outside = generator.get_state()
    try:
        yield generator
    finally:
        generator.set_state(outside)


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
    devices = range(torch.cuda.device_count())
    # fork_rng warns where it has to find several devices itself.
    with borrowed_generator(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
