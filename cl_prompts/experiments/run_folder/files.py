"""Read and write the files of run folders, each replaced in one step or appended to.

``SHA256SUMS`` holds the checksums of a finished run (``sha256sum -c SHA256SUMS``).
"""

import csv
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from cl_prompts.checks import sha256
from cl_prompts.errors import InputError

SUMS_FILE = "SHA256SUMS"
#: scores of the parent's model, in the folder of a continual run
BEFORE_FILE = "before.json"
#: folder of the model
MODEL = "model"
#: files that a report reads
READ = (
    "config.yaml",
    "environment.json",
    "identity.json",
    "stream.json",
    "metrics.csv",
    BEFORE_FILE,
    "summary.json",
)
#: beginnings of the names of other files: TensorBoard's, the lock, and this one
_NOT_SUMMED = ("events.", ".", SUMS_FILE)


def sums(folder: Path, written: Mapping[str, bytes]) -> str:
    """Return the content of ``SHA256SUMS``; ``written`` are the files about to be written."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    found = {file.name: sha256(file) for file in files if not file.name.startswith(_NOT_SUMMED)}
    model = sorted((folder / MODEL).iterdir())
    found |= {f"{MODEL}/{file.name}": sha256(file) for file in model}
    found |= {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
    return "".join(f"{digest}  {name}\n" for name, digest in found.items())


def check_sums(folder: Path, names: Collection[str] = READ) -> None:
    """Compare files of a finished run with its ``SHA256SUMS``.

    Args:
        folder: of the run.
        names: files to compare; a file may be missing in both.

    Raises:
        InputError: ``SHA256SUMS`` is missing, or a file was changed, added or removed.
    """
    file = folder / SUMS_FILE
    if not file.is_file():
        raise InputError(f"{folder} has no {SUMS_FILE}: repeat the run or leave its folder out")
    words = file.read_bytes().decode(errors="replace").split()
    known = dict(zip(words[1::2], words[::2], strict=False))
    for name in names:
        path = folder / name
        found = sha256(path) if path.is_file() else None
        if found != known.get(name):
            raise InputError(
                f"{path} changed since the run ended (see {SUMS_FILE}): restore it, repeat the run"
                " or leave its folder out"
            )


#: pattern of the names of half-written files
TEMPORARY = ".*.tmp"


def replace(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a temporary file, and then rename it to ``path`` in one step.

    Raises:
        OSError: the disk is full or the folder read-only, for example; the old file stays.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> replace(file, [b"one ", b"two"])
    >>> file.read_text()
    'one two'
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary, parts)
        # Before the rename: a crash must not leave an empty file under the new name.
        sync(temporary)
        rename(temporary, path)
        # The new name is safe once its folder is synced.
        sync(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk its blocks are needed
        raise


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, and then rename it to ``folder``; an older one is replaced.

    After a kill the old or the new folder is whole, see :func:`restore_folder`.

    Raises:
        OSError: the disk is full or read-only, for example; the old folder stays.
    """
    restore_folder(folder)
    temporary, old = (folder.with_name(f".{folder.name}.{end}") for end in ("tmp", "old"))
    for left in (temporary, old):  # by a killed process
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        sync(temporary)
        if folder.exists():
            rename(folder, old)
        rename(temporary, folder)
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        restore_folder(folder)
        raise


def locked(folder: Path, in_use: str) -> AcquireReturnProxy:
    """Lock a folder, made if it is missing, and return a context that releases the lock.

    Args:
        folder: to lock.
        in_use: error if another process has the lock.

    Raises:
        InputError: another process has it.
        OSError: the folder is read-only, for example.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # The system releases this lock when the process is killed.
        return FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise InputError(in_use) from error


def restore_folder(folder: Path) -> None:
    """Restore a folder whose replacement was killed between its two renames."""
    old = folder.parent / f".{folder.name}.old"  # "." has no name
    if old.is_dir() and not folder.exists():
        rename(old, folder)


def write(path: Path, parts: Iterable[bytes | memoryview]) -> None:
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


def check_place(path: Path) -> None:
    """Check that a new file can be written, before its content is computed.

    Raises:
        InputError: the file exists, or its folder is not writable.
    """
    if path.exists():
        raise InputError(f"{path} exists already: remove it, or choose another --out")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"folder {path.parent} is missing or read-only: choose another --out")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file in one step."""
    replace(path, [json_text(value).encode()])


def write_arrays(path: Path, *numbered: Any, **arrays: Any) -> None:
    """Write a ``.npz`` file in one step: ``arr_0``, ``arr_1``, ..., and named arrays."""
    import numpy as np  # every command imports this module

    out = io.BytesIO()
    np.savez_compressed(out, *numbered, **arrays)
    replace(path, [out.getvalue()])


def read_text(path: Path) -> str:
    """Return the content of a text file.

    Raises:
        InputError: the file cannot be read, or is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: it is not UTF-8") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file.

    Raises:
        InputError: the file cannot be read, or is not JSON.
    """
    text = read_text(path)
    try:
        found: dict[str, object] = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: restore it, or leave the run out") from error
    return found


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV without a final line break.

    >>> csv_text([["path", "label"], ["a, b", 1]])
    'path,label\\n"a, b",1'
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().rstrip("\n")


def json_text(value: object) -> str:
    """Return JSON text with one entry a line."""
    return json.dumps(value, indent=1)
