"""Memory that a run needs at least, compared with what there is before any work."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cl_prompts.errors import InputError

#: operators that make a tensor of a given size
_MAKERS = {
    *("empty", "zeros", "ones", "full", "rand", "randn", "randint", "randperm", "eye", "normal"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "empty_strided", "arange"),
}
_STATES = 4  # a trained parameter, its gradient and two moments of Adam
_SOLVED = 3  # a matrix of products, whose zeros take nothing yet, its copy and the factor
_BLOCK = 9  # tokens that a block holds at once: input, residual, query, key, value, 4 of the MLP


def available_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be taken: of a GPU, or of the main memory."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [_main_memory()]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        limits.append(int(limit.read_text()) - int(used.read_text()))
    return max(0, min(limits))


def _main_memory() -> int:
    facts = Path("/proc/meminfo")
    if facts.is_file():
        for line in facts.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    return int(os.sysconf("SC_PAGE_SIZE")) * int(os.sysconf("SC_PHYS_PAGES"))


def gigabytes(n_bytes: float) -> str:
    """A number of bytes in words.

    >>> gigabytes(5.12e11)
    '512 GB'
    """
    value = n_bytes / 1e9
    return f"{value:.1f} GB" if value < 10 else f"{value:,.0f} GB"


class AllocationLimit(TorchDispatchMode):
    """Refusal of every tensor that would be larger than a limit, before it is made.

    Args:
        limit: in bytes.

    Example:
        >>> with AllocationLimit(1000):
        ...     torch.zeros(20, 20)
        Traceback (most recent call last):
        cl_prompts.experiments.runner.memory.TooLarge: a tensor of 20 x 20 numbers takes 1600 bytes
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator of torch, unless it makes too large a tensor."""
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in _MAKERS:
            shape = _shape_of(func, args, kwargs)
            kind = kwargs.get("dtype") or torch.get_default_dtype()
            needed = math.prod(shape) * kind.itemsize
            if needed > self.limit:
                raise TooLarge(shape, needed)
        return func(*args, **kwargs)


class TooLarge(MemoryError):
    """A tensor that does not fit.

    Attributes:
        needed: its bytes.

    Example:
        >>> TooLarge([2, 3], 24).needed
        24
    """

    def __init__(self, shape: list[int], needed: int) -> None:
        size = " x ".join(map(str, shape))
        super().__init__(f"a tensor of {size} numbers takes {needed} bytes")
        self.needed = needed


def _shape_of(func: Any, args: Any, kwargs: Any) -> list[int]:
    """The size that an operator is asked for, by the names of its schema."""
    given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs  # noqa: SLF001
    if "size" in given:
        return [int(n) for n in given["size"]]
    if "n" in given:  # randperm(n), eye(n), eye(n, m)
        n = int(given["n"])
        is_eye = func.overloadpacket.__name__ == "eye"
        return [n, int(given.get("m", n))] if is_eye else [n]
    return []


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Refuse to make what does not fit into the main memory.

    Args:
        what: is made inside, for the sentence ("strategy ranpac").

    Raises:
        InputError: with the estimate.
    """
    there = available_memory()
    try:
        with AllocationLimit(there):
            yield
    except TooLarge as error:
        raise _refusal(what, error.needed, there) from error


def check_memory(what: str, strategy: Any, *, n_train: int, n_test: int, n_tasks: int) -> None:
    """Refuse a run that needs more memory than there is.

    The estimate is a lower bound: the model with gradients and optimizer, the matrices of a ridge
    regression while it is solved, and one batch of images with the tokens that one block holds.
    What is estimated is not made.

    Args:
        what: the run, for the sentence ("strategy mvp").
        strategy: as built.
        n_train, n_test: images of the data set: no batch is larger.
        n_tasks: tasks of the stream.

    Raises:
        InputError: with the estimate.
    """
    there = available_memory(strategy.device)
    needed = needed_memory(strategy, n_train=n_train, n_test=n_test, n_tasks=n_tasks)
    if needed > there:
        raise _refusal(what, needed, there)


def needed_memory(strategy: Any, *, n_train: int, n_test: int, n_tasks: int) -> int:
    """Bytes that training and evaluation take at least, beside the model that exists; see
    :func:`check_memory`."""
    model, backbone = strategy.model, strategy.model.backbone
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    lanes = getattr(model, "lanes", None)
    to_come = 0 if lanes is None else lanes.lane_bytes * n_tasks
    replayed = strategy.replay.batch_size if strategy.buffer.size else 0
    images = max(
        min(strategy.train_mb_size, n_train) + min(replayed, strategy.buffer.size, n_train),
        min(strategy.eval_mb_size, n_test),
    )
    floats = 3 * backbone.image_size**2 + _BLOCK * backbone.n_tokens * backbone.dim
    grams = [getattr(module, "gram", None) for module in model.modules()]
    solved = sum(g.numel() * g.element_size() for g in grams if isinstance(g, torch.Tensor))
    states = (_STATES - 1) * trained + _STATES * to_come
    return states + _SOLVED * solved + 4 * images * floats


def _refusal(what: str, needed: int, there: int) -> InputError:
    return InputError(
        f"{what} needs at least {gigabytes(needed)} of memory, and {gigabytes(there)} are free:"
        " choose smaller sizes"
    )
