"""Passes through a ViT, split by rows over ranks, with gradients as those of one process.

Outside of a split pass every rank holds the same numbers. Inside, each rank has the rows of its
share. What enters carries its gradients back to all ranks, what leaves is gathered::

    whole batch -> own rows -> pass -> own results -> results of the whole batch
                <- gathered rows of gradients      <- own rows of gradients

So gradients outside are complete on every rank, whatever they are of, and none is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.func import functional_call

from cl_prompts.backbones import ranks
from cl_prompts.backbones.cost import PassCounter
from cl_prompts.backbones.ranks import Share

_INSIDE: ContextVar[Share | None] = ContextVar("share of the split pass", default=None)


def split(
    function: Callable[..., Tensor],
    rows: Sequence[Tensor],
    shared: Sequence[Tensor] = (),
    *,
    modules: Sequence[nn.Module] = (),
    counter: PassCounter,
    whole: bool = True,
) -> Tensor:
    """Run a function on this rank's rows of a batch.

    Args:
        function: own rows of each of ``rows``, then ``shared`` -> results of the own rows; with
            ``modules`` as they are then.
        rows: tensors with one row for each image, (batch, ...); the batch is not empty.
        shared: tensors that all images share.
        modules: whose parameters the function uses and may train.
        counter: of the work, which then counts the whole batch.
        whole: gather the results of all ranks; else rows of other ranks are zero.

    Returns:
        (batch, ...) results.
    """
    share = ranks.share(len(rows[0]))
    used = nn.ModuleList(modules)
    trained = [(f"used.{n}", p) for n, p in used.named_parameters() if p.requires_grad]
    parameters = trained if torch.is_grad_enabled() else []
    # Trained parameters enter like prompts, so that their gradients are summed over ranks.
    entered = _enter(share, rows, [*shared, *(p for _, p in parameters)])
    given = entered[: len(rows) + len(shared)]
    replaced = dict(zip((n for n, _ in parameters), entered[len(given) :], strict=True))
    computed = share.rows.stop - share.rows.start
    # Each rank counts for the whole batch, so that costs do not depend on their number.
    with ranks.local_only(), _inside(share), counter.standing_for(share.n / computed):
        if replaced:
            own = functional_call(_Caller(used, function), replaced, tuple(given))
        else:
            own = function(*given)
    return _Gather.apply(share, own[: share.kept]) if whole else _placed(share, own)


def whole_rows(own: Tensor) -> Tensor:
    """Inside a split pass: values (own rows, ...) -> those of the whole batch, which may leave the
    pass by another way than its result. Elsewhere: the values themselves.

    >>> whole_rows(torch.zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    share = _share_inside()
    return own if share is None else _Gather.apply(share, own[: share.kept])


def own_rows(whole: Tensor) -> Tensor:
    """Inside a split pass: the own rows of values of the whole batch. Elsewhere: the values.

    >>> own_rows(torch.zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    share = _share_inside()
    return whole if share is None else whole[share.rows]


def dropout(own: Tensor, p: float, *, training: bool) -> Tensor:
    """Dropout on values (own rows, ...), drawn from torch's global generator as it would be for the
    whole batch.

    >>> dropout(torch.ones(2), 0.5, training=False)
    tensor([1., 1.])
    """
    share = _share_inside()
    if share is None or not training:
        return F.dropout(own, p, training)
    # Drawn for the whole batch, so that every rank draws the same numbers.
    return own * F.dropout(own.new_ones(share.n, *own.shape[1:]), p)[share.rows]


def _share_inside() -> Share | None:
    """This rank's share of the split pass; None outside of any."""
    # Compiled passes, whose tracing knows no context variables, are never split.
    return None if torch.compiler.is_compiling() else _INSIDE.get()


@contextmanager
def _inside(share: Share) -> Iterator[None]:
    token = _INSIDE.set(share)
    try:
        yield
    finally:
        _INSIDE.reset(token)


class _Caller(nn.Module):
    """A function that uses modules, as a module."""

    def __init__(self, used: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.used = used
        self.function = function

    def forward(self, *given: Tensor) -> Tensor:
        return self.function(*given)


def _placed(share: Share, own: Tensor) -> Tensor:
    """Own results among rows of zeros."""
    filled = own.new_zeros(share.n, *own.shape[1:])
    filled[share.start : share.stop] = own[: share.kept]
    return filled


def _enter(share: Share, rows: Sequence[Tensor], shared: Sequence[Tensor]) -> list[Tensor]:
    """Own rows, and what is shared, with gradients that reach all ranks."""
    given = [*rows, *shared]
    learn = [torch.is_grad_enabled() and tensor.requires_grad for tensor in given]
    n_rows = sum(learn[: len(rows)])
    asked = [tensor for tensor, learns in zip(given, learn, strict=True) if learns]
    entered = iter(_Enter.apply(share, n_rows, *asked) if asked else ())
    return [
        next(entered) if learns else (tensor[share.rows] if i < len(rows) else tensor)
        for i, (tensor, learns) in enumerate(zip(given, learn, strict=True))
    ]


class _Enter(torch.autograd.Function):
    """Own rows of the first tensors, and the others as they are; backward: rows of gradients are
    gathered, gradients of the others are summed over ranks."""

    @staticmethod
    def forward(ctx: FunctionCtx, share: Share, n_rows: int, *given: Tensor) -> Any:
        ctx.share, ctx.n_rows = share, n_rows  # type: ignore[attr-defined]
        # A gradient of None stays None, and is not exchanged.
        ctx.set_materialize_grads(False)
        return tuple(
            tensor[share.rows] if i < n_rows else tensor.view_as(tensor)
            for i, tensor in enumerate(given)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        share, n = ctx.share, ctx.n_rows
        rows = _at_once(
            gradients[:n],
            lambda gradient: gradient[: share.kept].reshape(share.kept, gradient[0].numel()),
            lambda flat: ranks.gathered([flat], share.n)[0],
        )
        shared = _at_once(gradients[n:], lambda gradient: gradient.reshape(1, -1), ranks.total)
        return None, None, *rows, *shared


def _at_once(
    gradients: Sequence[Tensor | None],
    flattened: Callable[[Tensor], Tensor],
    exchanged: Callable[[Tensor], Tensor],
) -> list[Tensor | None]:
    """Gradients exchanged with other ranks, in fp32 and all at once; None stays None."""
    known = [gradient for gradient in gradients if gradient is not None]
    if not known:
        return list(gradients)
    parts = [flattened(gradient).float() for gradient in known]
    results = iter(exchanged(torch.cat(parts, dim=1)).split([p.shape[1] for p in parts], dim=1))
    return [
        None if gradient is None else _shaped(next(results), gradient) for gradient in gradients
    ]


def _shaped(flat: Tensor, like: Tensor) -> Tensor:
    """A gradient in the type and shape of its tensor, of which ``like`` has some rows."""
    shape = like.shape if flat.numel() == like.numel() else (len(flat), *like.shape[1:])
    return flat.reshape(shape).to(like.dtype)


class _Gather(torch.autograd.Function):
    """Own rows -> all rows; backward: own rows of a gradient that every rank holds."""

    @staticmethod
    def forward(ctx: FunctionCtx, share: Share, own: Tensor) -> Tensor:
        ctx.share = share  # type: ignore[attr-defined]
        return ranks.gathered([own], share.n)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, gradient[ctx.share.start : ctx.share.stop]
