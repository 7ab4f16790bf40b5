"""Files of run folders: each is replaced in one step, or only appended to."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cl_prompts.errors import InputError, RunError

#: pattern of the names of files that are being written
TEMPORARY = ".*.tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, which then takes the place of a file in one step.

    Raises:
        OSError: the disk is full, the folder is read-only, and so on; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        # Before the rename: a crash must not leave the new name with an empty file.
        sync(temporary)
        rename(temporary, path)
        # The new name is on the disk once its folder is.
        sync(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)  # its blocks may be those that the next file needs
        raise


def replace(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file in one step, see :func:`replacing`.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> replace(file, [b"one ", b"two"])
    >>> file.read_text()
    'one two'
    """
    with replacing(path) as temporary:
        write(temporary, parts)


def write(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file."""
    with path.open("wb") as file:
        file.writelines(parts)


def append(path: Path, data: bytes) -> None:
    """Write at the end of a file."""
    with path.open("ab") as file:
        file.write(data)


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder, as it is."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(old: Path, new: Path) -> None:
    """Move a file to another name of its folder, in one step, over an older file."""
    os.replace(old, new)


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Make a folder, and those above it.

    Raises:
        FileExistsError: it is there.
        RunError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.is_dir():
            raise
        raise RunError(f"folder {path} cannot be created: {reason_of(error)}") from error


def check_place(path: Path) -> None:
    """Refuse a file to write, before the work that its content takes.

    Raises:
        InputError: it is there already, or its folder cannot be written to.
    """
    if path.exists():
        raise InputError(f"{path} exists already: remove it, or give --out another name")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"there is no folder {path.parent} to write to: give another --out")


def write_new(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file as :func:`replace` does, where there is none.

    Raises:
        InputError: there is a file of that name.
    """
    check_place(path)
    replace(path, parts)


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
        """Turn an error of the system into one sentence that a file cannot be written."""
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
        """Return the content of a text file.

        Raises:
            InputError: it cannot be read, or is no text.
        """
        file = self.path / name
        try:
            return file.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{file} cannot be read: it is not UTF-8") from error

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file.

        Raises:
            InputError: it cannot be read, or is not JSON.
        """
        try:
            found: dict[str, Any] = json.loads(self.read_text(name))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{self.path / name} is damaged: it is not JSON") from error
        return found


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV, without a line break at the end.

    >>> csv_text([["path", "label"], ["a, b", 1]])
    'path,label\\n"a, b",1'
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().rstrip("\n")


def json_text(value: Any) -> str:
    """Return JSON as files hold it, one entry a line."""
    return json.dumps(value, indent=1)


def reason_of(error: OSError) -> str:
    """Return the reason that the system gives for a refusal."""
    return error.strerror or str(error)
