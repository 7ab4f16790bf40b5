"""Nested states as JSON and a flat table of tensors, and back, exactly.

``None``, booleans, whole numbers, finite floats and texts stand as they are. Everything else is an
object of one key, its kind::

    {"d": [[key, value], ...]}   dictionary, in its order; keys are texts, numbers, tuples ...
    {"l": [...]}, {"t": [...]}   list, tuple
    {"f": "nan"}                 float that JSON has no word for
    {"x": "7"}                   tensor 7
    {"n": ["7", dtype, shape]}   array of numpy, whose bytes are tensor 7; "s": a scalar of numpy
    {"b": "7"}                   bytes
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


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
            return value if math.isfinite(value) else {"f": repr(value)}
        if isinstance(value, Tensor):
            return {"x": stored(value)}
        if isinstance(value, Mapping):
            pairs = value.items()
            return {
                "d": [[node(k, f"a key of {where}"), node(v, f"{where}.{k}")] for k, v in pairs]
            }
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
        return array.copy() if kind == "n" else array[()]
    raise ValueError(f"no kind of value is called {kind!r}")
