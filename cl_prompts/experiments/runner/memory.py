"""Memory of a run: the least that it needs, compared with the free memory before any work, and the
peak that it took."""

from __future__ import annotations

import math
import os
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
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
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def available_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be taken: of a GPU, or of the main memory."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    # A container may be allowed less than the machine has.
    limits = [_main_memory()]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        limits.append(int(limit.read_text()) - int(used.read_text()))
    return max(0, min(limits))


def _main_memory() -> int:
    of_kernel = _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    if of_kernel is None:
        return int(os.sysconf("SC_PAGE_SIZE")) * int(os.sysconf("SC_PHYS_PAGES"))
    return of_kernel * 1024


def _kilobytes(file: Path, name: str) -> int | None:
    """Value of a row such as ``MemAvailable:  2048 kB``; None where the kernel has no such row."""
    for line in file.read_text().splitlines() if file.is_file() else ():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return None


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
        cl_prompts.experiments.runner.memory.TooLarge: a tensor takes 1600 bytes
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator of torch, unless it makes too large a tensor."""
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in _MAKERS:
            # Before the operator runs: on Linux a tensor that does not fit is made all the same,
            # and the process is killed when it is written to.
            shape = _shape_of(func, args, kwargs)
            kind = kwargs.get("dtype") or torch.get_default_dtype()
            needed = math.prod(shape) * kind.itemsize
            if needed > self.limit:
                raise TooLarge(needed)
        return func(*args, **kwargs)


class TooLarge(MemoryError):
    """A tensor that does not fit.

    Attributes:
        needed: its bytes.

    Example:
        >>> TooLarge(24).needed
        24
    """

    def __init__(self, needed: int) -> None:
        super().__init__(f"a tensor takes {needed} bytes")
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


def check_memory(what: str, strategy: Any, **sizes: Any) -> None:
    """Refuse a run that needs more memory than there is, see :func:`memory_forecast`.

    Args:
        what: the run, for the sentence ("strategy mvp").
        strategy: as built.
        sizes: of the forecast.

    Raises:
        InputError: with the estimate.
    """
    there = available_memory(strategy.device)
    needed = memory_forecast(strategy, **sizes)
    if sum(needed.values()) > there:
        raise _refusal(what, sum(needed.values()), there)


def memory_forecast(
    strategy: Any, *, n_train: int, n_test: int, n_tasks: int, ends: bool
) -> dict[str, int]:
    """Bytes that training and evaluation take at least beside the model that exists, by their use.

    This is a lower bound, and nothing of it is made.

    Args:
        strategy: as built.
        n_train, n_test: images of the data set: no batch is larger.
        n_tasks: tasks of the stream.
        ends: whether the strategy gets to know of ends of tasks, or of periods.
    """
    model = strategy.model
    backbone = model.backbone
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    lanes = getattr(model, "lanes", None)

    def named(*names: str) -> list[torch.Tensor]:
        found = (getattr(part, name, None) for part in model.modules() for name in names)
        return [tensor for tensor in found if isinstance(tensor, torch.Tensor)]

    sums = [tensor.nbytes for tensor in named("gram", "scatter")]
    # A ridge is chosen on the sums without the samples that it is chosen on.
    chosen = ends and bool(getattr(strategy, "held_out", 0))
    replayed = strategy.replay.batch_size if strategy.buffer.size else 0
    batch = max(
        min(strategy.train_mb_size, n_train) + min(replayed, strategy.buffer.size, n_train),
        min(strategy.eval_mb_size, n_test),
    )
    return {
        # A gradient and Adam's two moments.
        "trained parameters": 3 * _bytes(trained),
        # The parameters of a lane, with the same.
        "lanes to come": 0 if lanes is None else 4 * lanes.lane_bytes * n_tasks,
        # Matrices of products, whose zeros take nothing yet, and one that becomes the factor.
        "ridge regression": sum(sums) + (1 + chosen) * max(sums, default=0),
        "matrices of classes": _bytes(named("grams", "scatters")),
        # Cached features or queries, in fp32.
        "features of test images": 4 * n_test * model.cached_width,
        "pixels of a batch": 4 * batch * 3 * backbone.image_size**2,
        # A block holds its input, residual, query, key, value, and four times as much in its MLP.
        "tokens of a batch": 4 * batch * 9 * backbone.n_tokens * backbone.dim,
    }


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _refusal(what: str, needed: int, there: int) -> InputError:
    return InputError(
        f"{what} needs at least {gigabytes(needed)} of memory, and {gigabytes(there)} are free:"
        " choose smaller sizes"
    )


# ------------------------------------------------------------------------------------------- peak


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure anew: memory of earlier runs in this process is no peak of this run.

    Passes that runs share count all the same. Where the kernel has no such thing, or does not allow
    it, the peak of the main memory stays that of the whole process, earlier runs included.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # A peak since the start of the process is an upper bound.
    with suppress(OSError):
        # 5 resets the peak of resident memory, see proc(5).
        _CLEAR.write_text("5")


def peak_memory_mb() -> float:
    """Peak of the main memory that this process held, in MiB, since :func:`reset_peak_memory`;
    its loader processes are not counted."""
    held = _kilobytes(_STATUS, "VmHWM")
    if held is not None:
        return held / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux kilobytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def peak_device_memory_mb(device: torch.device) -> float | None:
    """Peak of what torch allocated on a GPU, in MiB; None on other devices."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) / 2**20
