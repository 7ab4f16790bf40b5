"""Random views of images: the keys that their random numbers are drawn by.

A reader with an order of its own, as the training loop, names by :func:`viewing` the view of each
item that it wants; transforms ask :func:`current_key`. So a view depends on the seed and the key
alone, and not on the process that makes it nor on what was drawn before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Key = tuple[int, ...]

_KEY: ContextVar[Key | None] = ContextVar("view key", default=None)


@contextmanager
def viewing(*key: int) -> Iterator[None]:
    """Items that are read in this context are views under ``key``.

    >>> with viewing(100, 1):
    ...     current_key()
    (100, 1)
    """
    token = _KEY.set(key)
    try:
        yield
    finally:
        _KEY.reset(token)


def current_key() -> Key | None:
    """The key of the surrounding :func:`viewing`; None outside of any."""
    return _KEY.get()


def view_seed(seed: int, key: Key) -> int:
    """Seed of a view's random numbers, from 0 to 2^63 - 1.

    A hash, since seeds that differ by little, and keys of different lengths, must not give the same
    numbers.
    """
    words = " ".join(str(int(part)) for part in (seed, *key))
    digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
    # 63 bits, which a signed number holds.
    return int.from_bytes(digest, "little") >> 1
