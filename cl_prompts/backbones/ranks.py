"""Several processes, the ranks, that train one model together on ``torch.distributed``.

Every rank does the same work on the same global batch, but for what is costly: passes through the
ViT, and reading images. Of these it does its share of the rows, and all ranks then get the result
for all rows. So a run on several ranks computes what a run of one process does, up to rounding.
Without an initialised process group nothing here does anything.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn

from cl_prompts.errors import InputError, RunError

#: that a rank waits for another one, which may write a checkpoint or draw pictures meanwhile
TIMEOUT = timedelta(minutes=20)

#: kinds of devices that always add in the same order
IN_ORDER: tuple[str, ...] = ("cpu",)
#: (store, rank, ranks) of the job that :func:`start` joined
_STORE: list[tuple[Any, int, int]] = []
_LOCAL_ONLY: ContextVar[bool] = ContextVar("work of one rank alone", default=False)


# Builds of torch without distributed have no ``is_initialized``.
_initialised = distributed.is_initialized if distributed.is_available() else bool


def size() -> int:
    """Number of ranks; 1 without ``torch.distributed``."""
    return distributed.get_world_size() if _initialised() else 1


def rank() -> int:
    """Number of this rank, from 0."""
    return distributed.get_rank() if _initialised() else 0


def is_distributed() -> bool:
    """Whether work is shared here and now: there are several ranks, and this is not
    :func:`local_only`."""
    return size() > 1 and not _LOCAL_ONLY.get()


@contextmanager
def local_only() -> Iterator[None]:
    """In this context a rank works for itself: nothing is shared, and no other rank is waited for.

    >>> with local_only():
    ...     is_distributed()
    False
    """
    token = _LOCAL_ONLY.set(True)
    try:
        yield
    finally:
        _LOCAL_ONLY.reset(token)


class Share(NamedTuple):
    """Rows of a batch that one rank works on.

    Attributes:
        n: rows of the batch, at least 1.
        start: the first of them that is its own.
        stop: the one behind its last.

    Example:
        >>> [Share.of_rank(i, ranks=4, n=3)[1:] for i in range(4)]
        [(0, 0), (0, 1), (1, 2), (2, 3)]
    """

    n: int
    start: int
    stop: int

    @classmethod
    def of_rank(cls, rank: int, *, ranks: int, n: int) -> Share:
        """The share of a rank: one of so many parts as equal as can be, in order."""
        return cls(n, n * rank // ranks, n * (rank + 1) // ranks)

    @property
    def kept(self) -> int:
        """Number of own rows, perhaps 0."""
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """Rows to work on: the own ones, and without any the first of the batch, whose result is
        dropped, so that every rank takes every step."""
        return slice(self.start, self.stop) if self.kept else slice(0, 1)


def share(n: int) -> Share:
    """This rank's share of n rows: all of them where it works for itself."""
    return Share.of_rank(rank(), ranks=size(), n=n) if is_distributed() else Share(n, 0, n)


# ---------------------------------------------------------------------------------- communication


@contextmanager
def _waiting() -> Iterator[None]:
    """Say in one sentence that another rank has failed or does not answer."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"rank {rank()} of {size()} waited in vain for another one, which has failed or is not"
            " at the same step"
        ) from error


def gathered(own: Sequence[Tensor], n: int) -> list[Tensor]:
    """All n rows of tensors on one device, from the own rows of each rank (kept, ...): the same
    bits on every rank, in one exchange."""
    ranks = size()
    shares = [Share.of_rank(i, ranks=ranks, n=n) for i in range(ranks)]
    parts = [_as_bytes(tensor) for tensor in own]
    widths = [part.shape[1] for part in parts]
    # As bytes, which every backend can send whatever the type, and padded to equal numbers of rows.
    most = max(share.kept for share in shares)
    sent = parts[0].new_zeros(most, sum(widths))
    sent[: len(own[0])] = torch.cat(parts, dim=1)
    received = [torch.empty_like(sent) for _ in range(ranks)]
    with _waiting():
        distributed.all_gather(received, sent)
    rows = torch.cat([got[: share.kept] for got, share in zip(received, shares, strict=True)])
    # Clones, since a single row is contiguous wherever it begins, and other types must be aligned.
    return [
        columns.clone(memory_format=torch.contiguous_format)
        .view(tensor.dtype)
        .view(n, *tensor.shape[1:])
        for columns, tensor in zip(rows.split(widths, dim=1), own, strict=True)
    ]


def _as_bytes(values: Tensor) -> Tensor:
    """(rows, ...) -> (rows, bytes)."""
    width = values.new_empty(1, *values.shape[1:]).numel()
    return values.detach().contiguous().view(len(values), width).view(torch.uint8)


def total(values: Tensor) -> Tensor:
    """Sum over ranks, the same bits on every rank."""
    # A clone, since all_reduce writes into its argument.
    values = values.detach().clone().contiguous()
    with _waiting():
        distributed.all_reduce(values)
    return values


def highest(*numbers: int) -> list[int]:
    """Greatest value over ranks of each number; the numbers themselves without other ranks.

    >>> highest(3, 0)
    [3, 0]
    """
    if not is_distributed():
        return list(numbers)
    values = torch.tensor(numbers)
    with _waiting():
        distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return [int(value) for value in values]


def broadcast_text(text: str | None) -> str:
    """A text of rank 0, on every rank.

    Args:
        text: on rank 0; ignored on the others.
    """
    # frombuffer takes no empty text.
    content = torch.frombuffer(bytearray((text or " ").encode()), dtype=torch.uint8)
    length = torch.tensor([len(content)])
    with _waiting():
        distributed.broadcast(length, 0)
        content = content if rank() == 0 else torch.empty(int(length), dtype=torch.uint8)
        distributed.broadcast(content, 0)
    return bytes(content.tolist()).decode()


@torch.no_grad()
def share_gradients(model: nn.Module) -> None:
    """Take rank 0's gradients on every rank, on devices where the order of additions is left to
    chance and gradients are the same but for rounding; so parameters stay the same bit for bit."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not gradients or gradients[0].device.type in IN_ORDER:
        return
    # One message instead of one for each parameter.
    flat = torch.cat([gradient.reshape(-1).float() for gradient in gradients])
    with _waiting():
        distributed.broadcast(flat, 0)
    for gradient, values in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(values.view_as(gradient))


# ------------------------------------------------------------------------------- start and end


def start() -> bool:
    """Join the other processes that ``torchrun`` has started; each takes a GPU of its own, where
    there are any.

    Returns:
        False if that was done before.

    Raises:
        InputError: more processes than GPUs on a machine that has some.
        RunError: the other processes do not answer.
    """
    if _initialised():
        return False
    backend = "gloo"
    if torch.cuda.is_available():
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus:
            raise InputError(
                f"there are {gpus} GPUs here for more processes: start torchrun with"
                f" --nproc-per-node={gpus}, or with CUDA_VISIBLE_DEVICES= for the CPU"
            )
        torch.cuda.set_device(local)
        # NCCL knows no tensors on the CPU, and labels are exchanged there.
        backend = "cpu:gloo,cuda:nccl"
    with _waiting():
        _STORE[:] = list(islice(distributed.rendezvous("env://"), 1))
        store, number, n = _STORE[0]
        distributed.init_process_group(
            backend, store=store, rank=number, world_size=n, timeout=TIMEOUT
        )
    return True


def is_first_to_say(sentence: str) -> bool:
    """Whether no other rank has said the same before; True where that cannot be found out."""
    if not _STORE:
        return True
    key = hashlib.sha256(sentence.encode()).hexdigest()
    try:
        return int(_STORE[0][0].add(key, 1)) == 1
    except RuntimeError:  # the process that kept the store is gone
        return True


def leave() -> None:
    """Leave the other processes, at the end."""
    if _initialised():
        distributed.destroy_process_group()
