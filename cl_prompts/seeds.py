"""Seeds derived from a run's seed, and draws that leave global generators alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from cl_prompts.state import State

#: A prime: runs with neighbouring seeds do not share derived seeds for small counts.
STRIDE = 1_000_003


def derived_seed(seed: int, count: int) -> int:
    """Derive a seed from the run's and a count of progress, so that a resumed run derives the same.

    Args:
        count: samples seen, tasks started or classes seen: what distinguishes this draw.
    """
    return seed + STRIDE * count


def seed_globals(seed: int) -> None:
    """Seed the global generators of torch, numpy and Python.

    >>> seed_globals(1)
    >>> first = (random.random(), np.random.rand())
    >>> seed_globals(1)
    >>> first == (random.random(), np.random.rand())
    True
    """
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # the largest that it takes


def global_states() -> State:
    """Return the states of the global generators of torch (CPU), numpy and Python."""
    kind, words, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "numpy": (kind, torch.from_numpy(np.asarray(words).astype(np.int64)), *rest),
        "python": random.getstate(),
    }


def set_global_states(states: State) -> None:
    """Restore the states of :func:`global_states`."""
    torch.set_rng_state(states["torch"])
    kind, words, *rest = states["numpy"]
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators as :func:`seed_globals`, and restore their states afterwards.

    Example:
        >>> before = torch.get_rng_state()
        >>> with seeded(1):
        ...     first = torch.rand(2)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    before = global_states()
    try:
        # fork_rng warns where it has to find several devices itself.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            seed_globals(seed)
            yield
    finally:
        set_global_states(before)
