"""Read and write the files of run folders; each is replaced in one step or appended to."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cl_prompts.errors import InputError, RunError

METRICS_FILE = "metrics.csv"
METRICS_HEADER = ["samples_seen", "metric", "scope", "value"]
Row = tuple[int, str, str, float]

#: pattern of the names of half-written files
TEMPORARY = ".*.tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, and then rename it to ``path`` in one step.

    Raises:
        OSError: the disk is full or the folder read-only, for example; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        # Before the rename: a crash must not leave an empty file under the new name.
        sync(temporary)
        rename(temporary, path)
        # The new name is safe once its folder is synced.
        sync(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk its blocks are needed
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
    """Append to a file."""
    with path.open("ab") as file:
        file.write(data)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(old: Path, new: Path) -> None:
    """Rename a file within its folder in one step, replacing an older file."""
    os.replace(old, new)


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Make a folder, and those above it.

    Raises:
        FileExistsError: the folder exists.
        RunError: the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.is_dir():
            raise
        raise RunError(f"folder {path} cannot be created: {reason_of(error)}") from error


def check_place(path: Path) -> None:
    """Check that a new file can be written, before its content is computed.

    Raises:
        InputError: the file exists, or its folder is not writable.
    """
    if path.exists():
        raise InputError(f"{path} exists already: remove it, or choose another --out")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"folder {path.parent} is missing or read-only: choose another --out")


def write_new(path: Path, parts: Iterable[bytes]) -> None:
    """Write a new file as :func:`replace` does.

    Raises:
        InputError: the file exists.
    """
    check_place(path)
    replace(path, parts)


class FolderFiles:
    """Reader and writer of text, JSON and array files in a folder.

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
        """Turn an ``OSError`` into a ``RunError`` with one sentence."""
        try:
            yield
        except OSError as error:
            raise RunError(f"{self.path / name} cannot be written: {reason_of(error)}") from error

    def replace(self, name: str, parts: Iterable[bytes]) -> None:
        """Replace a file in one step: readers see the old content or the new one.

        Raises:
            RunError: the file cannot be written.
        """
        with self.writing(name):
            replace(self.path / name, parts)

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file in one step."""
        self.replace(name, [text.encode()])

    def write_json(self, name: str, value: Any) -> None:
        """Replace a JSON file in one step."""
        self.write_text(name, json_text(value))

    def write_arrays(self, name: str, *numbered: Any, **arrays: Any) -> None:
        """Replace a ``.npz`` file in one step: ``arr_0``, ``arr_1``, ..., and named arrays."""
        import numpy as np  # every command imports this module

        out = io.BytesIO()
        np.savez_compressed(out, *numbered, **arrays)
        self.replace(name, [out.getvalue()])

    def read_text(self, name: str) -> str:
        """Return the content of a text file.

        Raises:
            InputError: the file cannot be read, or is not UTF-8 text.
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
            InputError: the file cannot be read, or is not JSON.
        """
        text = self.read_text(name)
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            where = self.path / name
            raise InputError(f"{where} is not JSON: restore it, or leave the run out") from error
        return found


class MetricsFile:
    """Writer of ``metrics.csv``, whose rows are (samples_seen, metric, scope, value).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> table = MetricsFile(folder)
        >>> table.add([(64, "loss", "train", 0.5)])
        >>> record = table.record()
        >>> table.add([(128, "loss", "train", 0.4)])
        >>> MetricsFile(folder).restore(record)
        >>> (folder / "metrics.csv").read_text().split()
        ['samples_seen,metric,scope,value', '64,loss,train,0.5']
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS_FILE
        self._size = 0
        self._digest = hashlib.sha256()

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows.

        Raises:
            OSError: the disk is full, for example.
        """
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        if self._size == 0:
            writer.writerow(METRICS_HEADER)
        # repr is the shortest text that gives the same float again.
        writer.writerows((n, metric, scope, repr(float(value))) for n, metric, scope, value in rows)
        data = out.getvalue().encode()
        append(self.path, data)
        self._size += len(data)
        self._digest.update(data)

    def record(self) -> dict[str, Any]:
        """Sync the file to disk; return its length and SHA-256."""
        if self._size:
            sync(self.path)
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def restore(self, record: Mapping[str, Any] | None) -> None:
        """Drop the rows written after a checkpoint; without a checkpoint, drop all rows.

        Raises:
            InputError: earlier rows have changed since the checkpoint.
        """
        size = 0 if record is None else record["bytes"]
        content = self.path.read_bytes() if self.path.is_file() else b""
        kept = content[:size]
        self._size, self._digest = len(kept), hashlib.sha256(kept)
        if record is not None and self._digest.hexdigest() != record["sha256"]:
            raise InputError(
                f"{self.path} changed since the checkpoint: restore it or start a new run"
            )
        if len(content) > size:
            os.truncate(self.path, size)


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV without a final line break.

    >>> csv_text([["path", "label"], ["a, b", 1]])
    'path,label\\n"a, b",1'
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().rstrip("\n")


def json_text(value: Any) -> str:
    """Return JSON text with one entry a line."""
    return json.dumps(value, indent=1)


def reason_of(error: OSError) -> str:
    """Return the reason that the operating system gives."""
    return error.strerror or str(error)
