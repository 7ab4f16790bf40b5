"""Container of checkpoints: tensors, plain values and attached bytes in one checked file.

Layout, integers little-endian::

    8 bytes   magic
    4         version of the layout, and of the state in it
    8         length of the head
    32        SHA-256 of the 20 bytes before and the head after
    head      JSON: the state as a tree, whose it is, and name, length and SHA-256 of every part
    parts     one after the other: "tensors" as safetensors, then what was attached

No byte of the file is outside a checksum, and nothing in it is executed when it is read.

In the tree ``None``, booleans, whole numbers, finite floats and texts stand as they are. Everything
else is an object of one key, its kind::

    {"d": [[key, value], ...]}   dictionary, in its order; keys are texts, numbers, tuples ...
    {"l": [...]}, {"t": [...]}   list, tuple
    {"f": "nan"}                 float that JSON has no word for
    {"x": "7"}                   tensor 7
    {"n": ["7", dtype, shape]}   array of numpy, whose bytes are tensor 7; "s": a scalar of numpy
    {"b": "7"}                   bytes
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cl_prompts.errors import InputError, RunError, short
from cl_prompts.reading import TENSORS, conform, json_of, opened

MAGIC = b"CLPROMPT"
VERSION = 4
_START = struct.Struct("<8sIQ")
_DIGEST = hashlib.sha256().digest_size
_BLOCK = 2**20
_HEAD = {"identity": dict, "parts": [{"name": str, "bytes": int, "sha256": str}]}


class DamagedCheckpoint(InputError):
    """Refusal of a checkpoint that cannot be used, with the reason.

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
    """State of a run, with its identity.

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
    # The head comes first, with the digest of each part, so that a part can be passed over, and a
    # cut file is found out before anything of it is used.
    start = _START.pack(MAGIC, VERSION, len(text))
    return [start, hashlib.sha256(start + text).digest(), text, *parts.values()]


def verify(path: Path) -> None:
    """Read a checkpoint through and compare every checksum, without keeping anything.

    Raises:
        DamagedCheckpoint: one differs.
    """
    _checked(path, keep=False)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, with every checksum compared before anything is made of it.

    Raises:
        DamagedCheckpoint: a checksum differs, the file is cut off, or of another kind or version.
    """
    head, parts = _checked(path, keep=True)
    try:
        state = decode(head["state"], load(parts.pop("tensors")))
        return Checkpoint(state, head["identity"], parts)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        # The checksums agree: somebody made such a file.
        raise DamagedCheckpoint(path, f"its content is not a state: {error}") from error


@contextmanager
def taking_up(folder: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a checkpoint's state is taken up into one sentence: its
    checksums agree, so it is a state of another form than that of this version.

    Raises:
        InputError: the state has other entries, types or shapes.

    >>> with taking_up(Path("runs/mine")):
    ...     {"step": 3}["steps"]
    Traceback (most recent call last):
    cl_prompts.errors.InputError: the checkpoint in runs/mine holds a state of another form than \
this commit of cl-prompts has (KeyError: 'steps'): go on with the commit that wrote it, or start a \
new run
    """
    try:
        yield
    except (InputError, RunError):
        raise
    except (
        *(ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
        zlib.error,
    ) as e:
        raise InputError(
            f"the checkpoint in {folder} holds a state of another form than this commit of"
            f" cl-prompts has ({type(e).__name__}: {short(e)}): go on with the commit that wrote"
            " it, or start a new run"
        ) from e


def form_of(state: Any) -> Any:
    """Form of a state: its entries with their types, of tensors with type and shape.

    >>> form_of({"lr": 0.1, "rows": [torch.ones(2, 3), None]})
    {'lr': 'float', 'rows': [['torch.float32', 2, 3], 'NoneType']}
    """
    if isinstance(state, Mapping):
        return {str(key): form_of(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [form_of(value) for value in state]
    if isinstance(state, Tensor | np.ndarray):
        return [str(state.dtype), *state.shape]
    return type(state).__name__


def _checked(path: Path, *, keep: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Head and, if they are kept, parts of a checkpoint, with every checksum compared."""
    try:
        whole = opened(path, TENSORS)
    except OSError as error:
        raise DamagedCheckpoint(path, f"it cannot be read: {error.strerror}") from error
    parts: dict[str, bytes] = {}
    with whole as file:
        head = _head(path, file)
        # Before memory is taken for a part.
        if sum(part["bytes"] for part in head["parts"]) > path.stat().st_size:
            raise DamagedCheckpoint(path, "it is cut off")
        for part in head["parts"]:
            digest = hashlib.sha256()
            content = b""
            # A part that is kept is one block. Others come in small ones, since the state that was
            # written is still in memory.
            for content in _blocks(file, part["bytes"], part["bytes"] if keep else _BLOCK):
                digest.update(content)
            if digest.hexdigest() != part["sha256"]:
                raise DamagedCheckpoint(path, f"the checksum of its {part['name']} differs")
            parts[part["name"]] = content
        if file.read(1):
            raise DamagedCheckpoint(path, "it is longer than it says")
    return head, parts


def _blocks(file: BinaryIO, length: int, most: int) -> Iterator[bytes]:
    """Bytes of a part; fewer where the file is cut off, so that the checksum differs."""
    while length > 0 and (block := file.read(min(length, most))):
        length -= len(block)
        yield block


def _head(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The head, checked; the file stands at its parts."""
    start = file.read(_START.size)
    digest = file.read(_DIGEST)
    if len(start) < _START.size or start[: len(MAGIC)] != MAGIC:
        raise DamagedCheckpoint(path, "it does not begin like a checkpoint")
    _, version, length = _START.unpack(start)
    # Before the checksum: another layout may have another one.
    if version != VERSION:
        raise DamagedCheckpoint(
            path, f"it is of layout {version}, and this version of cl-prompts reads {VERSION}"
        )
    # A damaged length must not make Python reserve so much memory.
    if length > path.stat().st_size:
        raise DamagedCheckpoint(path, "it is cut off")
    text = file.read(length)
    if hashlib.sha256(start + text).digest() != digest:
        raise DamagedCheckpoint(path, "the checksum of its head differs")
    try:
        head: dict[str, Any] = json_of(text)
        conform(head, _HEAD)
        if any(part["bytes"] < 0 for part in head["parts"]):
            raise ValueError("a part has no length")
        return head
    except ValueError as error:
        raise DamagedCheckpoint(path, f"its head is not one: {error}") from error


# --------------------------------------------------------------------------------------- state


def encode(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A state as JSON's types and tensors on the CPU.

    Raises:
        TypeError: it holds something else (where).

    >>> tree, tensors = encode({"lr": 0.1, 3: [torch.ones(2), float("inf")]})
    >>> tree
    {'d': [['lr', 0.1], [3, {'l': [{'x': '0'}, {'f': 'inf'}]}]]}
    >>> decode(tree, tensors)
    {'lr': 0.1, 3: [tensor([1., 1.]), inf]}
    """
    tensors: dict[str, Tensor] = {}
    storages: set[int] = set()

    def stored(tensor: Tensor) -> str:
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        # safetensors refuses tensors that share memory.
        if storage.data_ptr() in storages or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()  # a view, whose storage others may show too
        storages.add(tensor.untyped_storage().data_ptr())
        name = str(len(tensors))
        tensors[name] = tensor
        return name

    def of_bytes(data: bytes) -> str:
        return stored(torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else _NOTHING)

    def node(value: Any, where: str) -> Any:
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            # JSON has no NaN and no infinity.
            return value if math.isfinite(value) else {"f": repr(value)}
        if isinstance(value, Tensor):
            return {"x": stored(value)}
        if isinstance(value, Mapping):
            pairs = value.items()
            return {
                "d": [[node(k, f"a key of {where}"), node(v, f"{where}.{k}")] for k, v in pairs]
            }
        # Subclasses such as named tuples would come back as plain ones, so they are refused.
        if isinstance(value, list | tuple) and type(value) in (list, tuple, torch.Size):
            kind = "l" if isinstance(value, list) else "t"
            return {kind: [node(entry, f"{where}[{i}]") for i, entry in enumerate(value)]}
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            kind = "n" if isinstance(value, np.ndarray) else "s"
            return {kind: [of_bytes(value.tobytes()), value.dtype.str, list(value.shape)]}
        if isinstance(value, bytes | bytearray):
            return {"b": of_bytes(bytes(value))}
        raise TypeError(
            f"{where} is of type {type(value).__name__}: a checkpoint holds tensors, arrays,"
            " numbers, texts, and dictionaries, lists and tuples of them"
        )

    return node(state, "state"), tensors


_NOTHING = torch.zeros(0, dtype=torch.uint8)


def decode(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Inverse of :func:`encode`.

    Raises:
        KeyError, TypeError, ValueError: the tree is none that :func:`encode` makes.
    """
    if not isinstance(tree, dict):
        if isinstance(tree, list):
            raise ValueError("a list without its kind")
        return tree
    ((kind, content),) = tree.items()
    if kind == "x":
        return tensors[content]
    if kind == "d":
        return {decode(key, tensors): decode(value, tensors) for key, value in content}
    if kind == "l":
        return [decode(value, tensors) for value in content]
    if kind == "t":
        return tuple([decode(value, tensors) for value in content])
    if kind == "f":
        return float(content)
    if kind == "b":
        return tensors[content].numpy().tobytes()
    if kind in ("n", "s"):
        name, dtype, shape = content
        array = np.frombuffer(tensors[name].numpy().tobytes(), dtype).reshape(shape)
        # A copy, since memory of bytes cannot be written to.
        return array.copy() if kind == "n" else array[()]
    raise ValueError(f"no kind of value is called {kind!r}")
