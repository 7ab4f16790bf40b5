"""Files that a user can name, opened in one way: regular files of bounded size, and JSON in them
whose every field has its type."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
from collections.abc import Collection, Hashable, Iterable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from cl_prompts.checks import shown

#: bytes of a recipe
RECIPE = 2**20
#: bytes of a file that is read as a whole: settings, summaries, plans, streams
TEXT = 2**28
#: bytes of a table or of annotations; those of COCO's training images are half a gigabyte
TABLE = 2**32
#: bytes of weights and checkpoints, which no machine holds beyond this
TENSORS = 2**42

_SPECIAL = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_KINDS = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number", bool: "a bool"}


class UnusableFile(OSError):
    """A path at which no file lies that may be read; ``strerror`` says what is there.

    >>> content("/dev/zero", TEXT)
    Traceback (most recent call last):
    cl_prompts.reading.UnusableFile: it is a device, not a file
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(reason)
        self.errno = errno.EINVAL
        self.filename = str(path)
        self.strerror = reason

    def __str__(self) -> str:
        return str(self.strerror)


def opened(path: str | Path, most: int) -> BufferedReader:
    """A file opened for reading, once it is seen to be a regular one of at most so many bytes.

    Opening a FIFO would wait for a writer for ever, and a device may have no end.

    Raises:
        OSError: there is no such file, it cannot be opened, or :class:`UnusableFile`.
    """
    _check(path, os.stat(path), most)
    # Not blocking, since a FIFO may lie there by now.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        # Once more, since another file may lie there by now.
        _check(path, os.fstat(handle), most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def check_file(path: str | Path, most: int) -> None:
    """Refuse what :func:`opened` would, for a library that opens the file itself.

    Raises:
        OSError: as :func:`opened`.
    """
    opened(path, most).close()


def _check(path: str | Path, status: os.stat_result, most: int) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise UnusableFile(path, f"it is {_SPECIAL.get(kind, 'no file')}, not a file")
    if status.st_size > most:
        raise UnusableFile(path, f"it has {status.st_size:,} bytes, more than {most:,}")


def content(path: str | Path, most: int) -> bytes:
    """Bytes of a file.

    Raises:
        OSError: as :func:`opened`.
    """
    with opened(path, most) as file:
        return file.read()


def sha256(path: str | Path, most: int = TENSORS) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: as :func:`opened`.
    """
    with opened(path, most) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_of(text: str | bytes, keep: Collection[str] | None = None) -> Any:
    """The value of a text in JSON.

    Args:
        text: to read.
        keep: keys that objects keep, where a file holds much that is not needed; None for all.

    Raises:
        ValueError: no JSON, nested too deep to be read, or an object with one key twice.

    >>> json_of('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: key 'a' is given twice
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError(f"key {shown(doubled(key for key, _ in pairs))} is given twice")
        return found if keep is None else {key: found[key] for key in found.keys() & keep}

    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def doubled(items: Iterable[Hashable]) -> Any:
    """The first of some items that comes a second time; None where each comes once.

    >>> doubled("abcb"), doubled("abc")
    ('b', None)
    """
    met = set()
    for item in items:
        if item in met:
            return item
        met.add(item)
    return None


def conform(value: Any, schema: Any, where: str = "") -> None:
    """Refuse a value, such as JSON gives, that differs in kind from a schema.

    Args:
        value: to look at.
        schema: a type, where ``float`` is any number; ``(schema, None)`` for a value or null;
            ``[schema]`` for a list of such; ``{"a": schema}`` for a mapping that has these keys,
            where those that end in ``?`` may be missing; ``{str: schema}`` for a mapping of any
            keys; ``object`` for anything.
        where: what the value is, for the sentence.

    Raises:
        ValueError: the first part that differs, and what it should be.

    >>> conform({"images": [{"id": "x"}]}, {"images": [{"id": int}], "info?": dict})
    Traceback (most recent call last):
    ValueError: images[0].id is 'x': it should be a whole number
    """
    if isinstance(schema, tuple):
        if value is not None:
            conform(value, schema[0], where)
    elif isinstance(schema, list):
        _expect(value, list, where)
        # Of a million numbers one look at their types is enough.
        if not isinstance(schema[0], type) or set(map(type, value)) - {schema[0]}:
            for number, part in enumerate(value):
                conform(part, schema[0], f"{where}[{number}]")
    elif isinstance(schema, Mapping):
        _expect(value, dict, where)
        _conform_mapping(value, schema, where)
    elif schema is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{where} is {shown(value)}: it should be a number")
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise ValueError(f"{where} is {shown(value)}: no such number can be computed with")
    elif schema is not object:
        _expect(value, schema, where)


def _conform_mapping(value: dict[str, Any], schema: Mapping[Any, Any], where: str) -> None:
    if str in schema:
        for key, part in value.items():
            conform(part, schema[str], f"{where}[{shown(key)}]")
        return
    for key, inner in schema.items():
        name = key.removesuffix("?")
        place = f"{where}.{name}" if where else name
        if name in value:
            conform(value[name], inner, place)
        elif name == key:
            raise ValueError(f"{place} is missing")


def _expect(value: Any, kind: type, where: str) -> None:
    # By type, not by isinstance: true is no number.
    if type(value) is not kind:
        what = where or "it"
        raise ValueError(f"{what} is {shown(value)}: it should be {_KINDS[kind]}")
