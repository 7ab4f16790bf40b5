"""Every write of a run folder, in a few steps that can each be made to fail in a test."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_DIRECTORY = getattr(os, "O_DIRECTORY", None)


def create(path: Path, parts: Iterable[bytes]) -> None:
    """Write a new file, or anew."""
    _write(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, parts)


def append(path: Path, data: bytes) -> None:
    """Write at the end of a file, which is made if there is none."""
    _write(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, [data])


def _write(path: Path, flags: int, parts: Iterable[bytes]) -> None:
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    try:
        for part in parts:
            left = memoryview(part)
            while left:
                left = left[os.write(handle, left) :]
    finally:
        os.close(handle)


def overwrite(path: Path, data: bytes) -> None:
    """Write over a file that exists, where no other can be made beside it."""
    _write(path, os.O_WRONLY | os.O_TRUNC, [data])


def cut(path: Path, size: int) -> None:
    """Shorten a file to ``size`` bytes."""
    os.truncate(path, size)


def sync(path: Path) -> None:
    """Have the disk hold a file as it is, or the names in a folder."""
    if path.is_dir():
        if _DIRECTORY is None:
            return  # no such thing on this system
        flags = os.O_RDONLY | _DIRECTORY
    else:
        flags = os.O_RDWR
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(old: Path, new: Path) -> None:
    """Move a file to another name of its folder, in one step, over what is there."""
    os.replace(old, new)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def temporary_of(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}.tmp")


def replace(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file in one step: whenever the process or the machine stops, there is the old content
    or the new one.

    Raises:
        OSError: the disk is full, the folder is read-only, and so on; the old content stays.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> replace(file, [b"one ", b"two"])
    >>> file.read_text()
    'one two'
    """
    temporary = temporary_of(path)
    try:
        create(temporary, parts)
        sync(temporary)
        rename(temporary, path)
    except OSError:
        remove(temporary)  # its blocks may be those that the next file needs
        raise
    sync(path.parent)
