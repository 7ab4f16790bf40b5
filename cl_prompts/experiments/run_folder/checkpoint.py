"""Container of checkpoints: tensors, plain values and attached bytes in one checked file.

Layout, integers little-endian::

    8 bytes   magic
    4         version of the layout, and of the state in it
    8         length of the head
    32        SHA-256 of the 20 bytes before and the head after
    head      JSON: the state as a tree, whose it is, and name, length and SHA-256 of every part
    parts     one after the other: "tensors" as safetensors, then what was attached

No byte of the file is outside a checksum, and nothing in it is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load, save

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.state_tree import decode, encode

MAGIC = b"CLPROMPT"
VERSION = 2
_START = struct.Struct("<8sIQ")
_DIGEST = hashlib.sha256().digest_size
_BLOCK = 2**20


class DamagedCheckpoint(InputError):
    """A checkpoint that cannot be used, and why.

    Example:
        >>> str(DamagedCheckpoint(Path("checkpoint"), "it is cut off"))
        'checkpoint is damaged (it is cut off)'
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged ({reason})")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        state: nested dictionaries, lists and tuples of tensors, arrays and plain values.
        identity: whose state it is, in JSON's types.
        attached: named bytes.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "checkpoint"
        >>> parts = packed(Checkpoint({"step": 3}, {"seed": 1}, {"notes": b"text"}))
        >>> _ = file.write_bytes(b"".join(parts))
        >>> read(file).state
        {'step': 3}
    """

    state: dict[str, Any]
    identity: Mapping[str, Any]
    attached: Mapping[str, bytes]


def packed(checkpoint: Checkpoint) -> list[bytes]:
    """Content of the file, in pieces.

    Raises:
        TypeError: the state holds something else than tensors and plain values (where).
    """
    tree, tensors = encode(checkpoint.state)
    parts = {"tensors": save(tensors), **checkpoint.attached}
    head = {
        "identity": checkpoint.identity,
        "state": tree,
        "parts": [
            {"name": name, "bytes": len(part), "sha256": hashlib.sha256(part).hexdigest()}
            for name, part in parts.items()
        ],
    }
    text = json.dumps(head).encode()
    start = _START.pack(MAGIC, VERSION, len(text))
    return [start, hashlib.sha256(start + text).digest(), text, *parts.values()]


def verify(path: Path) -> None:
    """Read a checkpoint through and compare every checksum, without keeping anything.

    Raises:
        DamagedCheckpoint: one differs.
    """
    with _opened(path) as file:
        for part in _head(path, file)["parts"]:
            digest = hashlib.sha256()
            for block in _blocks(file, part["bytes"]):
                digest.update(block)
            _compare(path, part, digest.hexdigest())
        _at_end(path, file)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, with every checksum compared before anything is made of it.

    Raises:
        DamagedCheckpoint: a checksum differs, the file is cut off, or of another kind or version.
    """
    with _opened(path) as file:
        head = _head(path, file)
        parts: dict[str, bytes] = {}
        for part in head["parts"]:
            content = file.read(part["bytes"])
            _compare(path, part, hashlib.sha256(content).hexdigest())
            parts[part["name"]] = content
        _at_end(path, file)
    try:
        state = decode(head["state"], load(parts.pop("tensors")))
        return Checkpoint(state, head["identity"], parts)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        # The checksums agree: somebody made such a file.
        raise DamagedCheckpoint(path, f"its content is not a state: {error}") from error


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DamagedCheckpoint(path, f"it cannot be read: {error.strerror}") from error


def _head(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The head, checked; the file stands at its parts."""
    start, digest = file.read(_START.size), file.read(_DIGEST)
    if len(start) < _START.size or start[: len(MAGIC)] != MAGIC:
        raise DamagedCheckpoint(path, "it does not begin like a checkpoint")
    _, version, length = _START.unpack(start)
    if version != VERSION:
        raise DamagedCheckpoint(
            path, f"it is of layout {version}, and this version of cl-prompts reads {VERSION}"
        )
    if length > path.stat().st_size:
        raise DamagedCheckpoint(path, "it is cut off")
    text = file.read(length)
    if hashlib.sha256(start + text).digest() != digest:
        raise DamagedCheckpoint(path, "the checksum of its head differs")
    try:
        head = json.loads(text)
        if all(isinstance(part["bytes"], int) and part["bytes"] >= 0 for part in head["parts"]):
            return head
        raise ValueError("a part has no length")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedCheckpoint(path, f"its head is not one: {error}") from error


def _blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0:
        block = file.read(min(length, _BLOCK))
        if not block:
            return  # cut off: the checksum will differ
        length -= len(block)
        yield block


def _compare(path: Path, part: Mapping[str, Any], found: str) -> None:
    if found != part["sha256"]:
        raise DamagedCheckpoint(path, f"the checksum of its {part['name']} differs")


def _at_end(path: Path, file: BinaryIO) -> None:
    if file.read(1):
        raise DamagedCheckpoint(path, "it is longer than it says")
