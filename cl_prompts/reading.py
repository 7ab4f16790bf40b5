"""Content of files that users name."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def doubled(items: Iterable[Hashable]) -> Any:
    """Return the first item that comes a second time; None where each comes once.

    >>> doubled("abcb"), doubled("abc")
    ('b', None)
    """
    met = set()
    for item in items:
        if item in met:
            return item
        met.add(item)
    return None
