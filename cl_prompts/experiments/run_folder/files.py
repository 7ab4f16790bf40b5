"""Writes to run folders, in few steps that can each be made to fail in a test, and reads of them
that give a sentence for each damage."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cl_prompts.errors import InputError, RunError, short
from cl_prompts.reading import TEXT, content, json_of

#: errors of a system that refuses to write: a place without permission, or a full disk
REFUSING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}

#: pattern of the names of :func:`temporary_of`
TEMPORARY = f".*.{'[0-9a-f]' * 16}.tmp"
#: signs with which a spreadsheet lets formulas begin, also in their full width
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: behind which a spreadsheet may begin a cell
_DIVIDERS = re.compile(r"([;\t\r\n])")
#: a number to spreadsheets, too
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def create(path: Path, parts: Iterable[bytes]) -> None:
    """Write a new file.

    Raises:
        FileExistsError: there is a file, or a link, of that name.
    """
    _write(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, parts)


def append(path: Path, data: bytes) -> None:
    """Write at the end of a file, which is made if there is none."""
    _write(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, [data])


def overwrite(path: Path, data: bytes) -> None:
    """Write over a file that exists, where no other can be made beside it."""
    _write(path, os.O_WRONLY, [data], size=0)


def _write(path: Path, flags: int, parts: Iterable[bytes], size: int | None = None) -> None:
    """Write at the end of a file, or after it was cut to a size."""
    # A link, also a hard one, may stand where a file of ours was: what it leads to is not ours to
    # write. Opening a FIFO must not wait for a reader.
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            reason = "it is no file, or a link to one: put a copy of the file in its place"
            raise OSError(errno.EINVAL, reason, str(path))
        if size is not None:
            os.ftruncate(handle, size)
        # Without Python's buffers, which would report a full disk at the close or not at all.
        for part in parts:
            left = memoryview(part)
            while left:
                left = left[os.write(handle, left) :]
    except OSError as error:  # which the system gives no name
        error.filename = str(path)
        raise
    finally:
        os.close(handle)


def cut(path: Path, size: int) -> None:
    """Shorten a file to ``size`` bytes."""
    _write(path, os.O_WRONLY, (), size)


def sync(path: Path) -> None:
    """Have the disk hold a file as it is, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(old: Path, new: Path) -> None:
    """Move a file to another name of its folder, in one step, over an older file."""
    os.replace(old, new)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Make the folder of a run, and those above it.

    Raises:
        FileExistsError: it is there.
        InputError: its path is none that a folder can have.
        RunError: the disk is full or read-only.
    """
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        # The caller tries the next name; a file in the way is a fault.
        if isinstance(error, FileExistsError) and path.is_dir():
            raise
        kind = RunError if error.errno in REFUSING else InputError
        raise kind(f"run folder {short(path)} cannot be created: {reason_of(error)}") from error


def check_place(path: Path) -> None:
    """Refuse a file to write, before the work that its content takes: one that is there already,
    or that cannot be made.

    Raises:
        InputError: why.
    """
    if os.path.lexists(path):
        raise _exists(path)
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {short(path.parent)}: make it, or give another --out")
    temporary = temporary_of(path)
    # Only an attempt tells whether a file can be made there.
    try:
        create(temporary, ())
        remove(temporary)
    except OSError as error:
        raise InputError(
            f"{short(path)} cannot be written: {reason_of(error)}; give another --out"
        ) from error


def _exists(path: Path) -> InputError:
    return InputError(f"{short(path)} exists already: remove it, or give --out another name")


def temporary_of(path: Path) -> Path:
    """Place where a file is written before it gets its name, one that nobody can foresee."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


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
    _move_to(path, parts)


def write_new(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file as :func:`replace` does, where there is none: also none that has appeared since
    :func:`check_place`.

    Raises:
        InputError: there is a file of that name.
        OSError: as :func:`replace`.
    """
    try:
        _move_to(path, parts, new=True)
    except FileExistsError as error:
        raise _exists(path) from error


def _move_to(path: Path, parts: Iterable[bytes], *, new: bool = False) -> None:
    temporary = temporary_of(path)
    made = [temporary]
    try:
        create(temporary, parts)
        # Before the rename: a crash must not leave the new name with an empty file.
        sync(temporary)
        if new:
            create(path, ())  # takes the name, or fails where somebody else has
            made.append(path)
        rename(temporary, path)
        made.clear()
        # The new name is on the disk once its folder is.
        sync(path.parent)
    except (OSError, KeyboardInterrupt) as error:
        for file in made:  # whose blocks may be those that the next file needs
            remove(file)
        if isinstance(error, OSError):
            error.filename = str(path)  # the one that was asked for
        raise


class FolderFiles:
    """Reader and writer of the plain files in a folder.

    Example:
        >>> import tempfile
        >>> folder = FolderFiles(Path(tempfile.mkdtemp()))
        >>> folder.write_json("summary.json", {"status": "running"})
        >>> folder.read_json("summary.json")
        {'status': 'running'}
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Turn a fault of the system into one sentence that a file cannot be written."""
        try:
            yield
        except OSError as error:
            raise RunError(f"{self.path / name} cannot be written: {reason_of(error)}") from error

    def replace(self, name: str, parts: Iterable[bytes]) -> None:
        """Replace a file in one step: readers see the old content or the new one.

        Raises:
            RunError: it cannot be written.
        """
        with self.writing(name):
            replace(self.path / name, parts)

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file in one step."""
        self.replace(name, [text.encode()])

    def write_json(self, name: str, value: Any) -> None:
        """Replace a JSON file in one step."""
        self.write_text(name, json_text(value))

    def write_arrays(self, name: str, **arrays: Any) -> None:
        """Replace a ``.npz`` file of arrays in one step."""
        import numpy as np  # here, since every command imports this module

        out = io.BytesIO()
        np.savez_compressed(out, **arrays)
        self.replace(name, [out.getvalue()])

    def read_text(self, name: str) -> str:
        """Content of a text file.

        Raises:
            InputError: it cannot be read, or is no text.
        """
        file = self.path / name
        try:
            return content(file, TEXT).decode()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{file} cannot be read: it is not UTF-8") from error

    def read_json(self, name: str) -> dict[str, Any]:
        """Content of a JSON file.

        Raises:
            InputError: it cannot be read, or is no JSON object.
        """
        text = self.read_text(name)
        try:
            value = json_of(text)
        except ValueError as error:
            raise InputError(f"{self.path / name} is damaged: it is not JSON") from error
        if not isinstance(value, dict):
            raise InputError(f"{self.path / name} is damaged: it is no mapping")
        return value


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV for people, without a line break at the end; see :func:`harmless`.

    >>> csv_text([["path", "label"], ["-1.5", "=1+1"]])
    "path,label\\n-1.5,'=1+1"
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in rows:
        writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue().rstrip("\n")


def harmless(cell: str) -> str:
    """A text that no spreadsheet runs as a formula: after an apostrophe where it begins like one
    and is no number, also behind a semicolon or a tab, at which many divide cells. A carriage
    return, which may end a row, becomes a space.

    >>> harmless("cat;=1+1;-0.5")
    "cat;'=1+1;-0.5"
    """
    # -0.5 begins like a formula and is a number.
    parts = [
        f"'{part}" if part.startswith(_FORMULA) and not _NUMBER.fullmatch(part) else part
        for part in _DIVIDERS.split(cell)
    ]
    return "".join(parts).replace("\r", " ")


def json_text(value: Any) -> str:
    """JSON as files hold it, one entry a line."""
    return json.dumps(value, indent=1)


def digest_of_json(content: Mapping[str, Any]) -> str:
    """SHA-256 of what a file holds beside this digest, by which one change of it is found."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def reason_of(error: OSError) -> str:
    """Reason that the system gives for a refusal."""
    return error.strerror or str(error)
