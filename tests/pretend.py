"""A pretend accelerator, for machines that have none: a second device whose tensors lie on the CPU.

It refuses to mix its tensors with those of the CPU, as a GPU does. Torch's spare device type
carries it: tensors are wrappers around CPU tensors, and every operator unwraps, computes and wraps
again.

Not covered: operators that change the shape of a tensor in place, pinned memory, streams.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

try:
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
except ImportError:  # torch < 2.8
    _setup_privateuseone_for_python_backend = None

NAME = "pretend"
#: whether this torch can have such a device
POSSIBLE = _setup_privateuseone_for_python_backend is not None

#: operators whose second argument, indices, may lie on the CPU
INDEXING = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}


class PretendTensor(Tensor):
    """A tensor of the device around a CPU tensor ``raw``."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> "PretendTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        made.raw = raw
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, *args, **(kwargs or {}))

    def tolist(self) -> Any:
        return self.raw.tolist()


def _is_pretend(value: Any) -> bool:
    return isinstance(value, PretendTensor)


def _wrap(value: Any) -> Any:
    """A tensor, or each of those that an operator returns."""
    if isinstance(value, tuple | list):
        return type(value)(map(_wrap, value))
    plain = isinstance(value, Tensor) and not _is_pretend(value)
    return PretendTensor(value.detach()) if plain else value


def _unwrap(value: Any) -> Any:
    """An argument of an operator, or each in a list of them."""
    if _is_pretend(value):
        return value.raw
    if isinstance(value, tuple | list):
        return type(value)(map(_unwrap, value))
    if isinstance(value, torch.device) and value.type == NAME:
        return torch.device("cpu")
    return value


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, and in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


class Facts(NamedTuple):
    """What is read of an operator's schema, once.

    Attributes:
        name: with its namespace.
        written: places and names of the arguments that it writes to.
        returns: how many values.
    """

    name: str
    written: tuple[tuple[int, str], ...]
    returns: int


@cache
def _facts(op: Any) -> Facts:
    schema = op._schema
    written = (
        (i, argument.name)
        for i, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    return Facts(schema.name, tuple(written), len(schema.returns))


def _run(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Any operator that a tensor of the device takes part in, or that makes one."""
    name = _facts(op).name
    if name in ("aten::copy_", "aten::_copy_from"):
        into, source = args[:2] if name == "aten::copy_" else args[1::-1]
        _unwrap(into).copy_(_unwrap(source))
        return into
    if name == "aten::_to_copy":
        return _to_copy(op, *args, **kwargs)
    if name == "aten::_fused_sdp_choice":
        return 0  # plain attention
    _refuse_mixture(name, args, kwargs)
    result = op(*_unwrap(args), **{key: _unwrap(value) for key, value in kwargs.items()})
    return _result(_facts(op), args, kwargs, result)


def _to_copy(op: Any, source: Tensor, **kwargs: Any) -> Tensor:
    device = kwargs.get("device")
    target = source.device if device is None else torch.device(device)
    to_device = target.type == NAME
    result = op(_unwrap(source), **{**kwargs, "device": "cpu" if to_device else target})
    return _wrap(result) if to_device else result


def _refuse_mixture(name: str, args: Any, kwargs: Any) -> None:
    if name in INDEXING and _is_pretend(args[0]):
        args = (args[0], *args[2:])
    tensors = [*_tensors(args), *_tensors(kwargs.values())]
    # Numbers of no dimension are passed along with the call.
    of_host = [t for t in tensors if not _is_pretend(t) and t.device.type == "cpu" and t.dim()]
    if of_host and any(map(_is_pretend, tensors)):
        raise RuntimeError(f"tensors on {NAME} and on cpu are mixed in {name}")


def _result(facts: Facts, args: Any, kwargs: Any, result: Any) -> Any:
    """The operator's result, wrapped; the tensor itself where one was written to."""
    if not facts.written:
        return _wrap(result)
    if not facts.returns:
        return None
    place, name = facts.written[0]
    into = args[place] if place < len(args) else kwargs.get(name)
    return into if facts.returns == 1 and _is_pretend(into) else _wrap(result)


class _Backend:
    """What torch asks a device's module; random numbers are the host's."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed(self, seed: int) -> None:
        pass

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.zeros(1, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        pass

    def synchronize(self, device: Any = None) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


@cache
def register() -> torch.library.Library:
    """Make torch know the device: once in a process, and before its first backward pass."""
    assert _setup_privateuseone_for_python_backend is not None
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    library = torch.library.Library("_", "IMPL")
    library.fallback(_run, "PrivateUse1")  # makers of tensors, such as zeros and randn
    return library


_tensor = torch.tensor
_arange = torch.arange
_orthogonal = torch.nn.init.orthogonal_


def _tensor_there(data: Any, *, dtype: Any = None, device: Any = None, **rest: Any) -> Tensor:
    """``torch.tensor``, which writes into a storage that wrappers do not have."""
    grad = rest.pop("requires_grad", False)
    made = _tensor(data, dtype=dtype, **rest)
    return (made if device is None else made.to(device)).requires_grad_(grad)


def _arange_there(*args: Any, device: Any = None, **rest: Any) -> Tensor:
    """``torch.arange``, which gives an empty tensor its shape in place."""
    made = _arange(*args, **rest)
    there = device is not None and torch.device(device).type == NAME
    return PretendTensor(made) if there else made


def _orthogonal_there(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``orthogonal_``, which transposes in place."""
    with torch.no_grad():
        return tensor.copy_(_orthogonal(torch.empty(tensor.shape), *args, **kwargs))


@contextmanager
def pretend_device() -> Iterator[str]:
    """The device's name, which torch knows from now on; some of its functions only inside."""
    register()
    torch.tensor = _tensor_there
    torch.arange = _arange_there
    torch.nn.init.orthogonal_ = _orthogonal_there
    try:
        yield NAME
    finally:
        torch.tensor = _tensor
        torch.arange = _arange
        torch.nn.init.orthogonal_ = _orthogonal
