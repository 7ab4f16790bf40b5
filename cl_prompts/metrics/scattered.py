"""Test images scattered over ranks, each of which evaluates its own and caches what they need."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cl_prompts.backbones import ranks
from cl_prompts.backbones.cost import Counts
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.cached_parts import CachedPart


def is_own(rows: Tensor) -> Tensor:
    """(n,) boolean: rows of the test set (n,) that are this rank's, always the same ones.

    >>> is_own(torch.arange(3)).tolist()
    [True, True, True]
    """
    return rows % ranks.size() == ranks.rank()


def all_rows(wanted: Tensor, own: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Values of all rows, from those of each rank's own.

    Args:
        wanted: (n,) rows of all ranks together, ascending.
        own: (m,) this rank's, in any order.
        values: (m, columns) of them, on the CPU.

    Returns:
        ``wanted``, and its values (n, columns).
    """
    (columns,) = ranks.highest(values.shape[1])  # a rank without any row does not know
    whole = values.new_zeros(len(wanted), columns)
    if len(own):
        whole[torch.searchsorted(wanted, own)] = values
    return wanted, ranks.total(whole)  # all but one rank add zero, so this is exact


def joined(part: CachedPart) -> CachedPart:
    """A cached part with the values of all ranks."""
    (width,) = ranks.highest(part.values.shape[1])
    whole = CachedPart(part.version, len(part.known), part.device)
    values = part.values
    if values.shape[1] != width:  # no row of this rank is known
        values = values.new_zeros(len(values), width)
    whole.values = ranks.total(values)
    whole.known = ranks.total(part.known.to(torch.int64)) > 0
    return whole


def keep_own(part: CachedPart) -> None:
    """Forget the values of other ranks' rows."""
    own = is_own(torch.arange(len(part.known)))
    part.known &= own
    # joined() adds up what all ranks have.
    part.values[~own.to(part.device)] = 0


def spent(model: nn.Module, before: Counts) -> float:
    """Multiply-accumulates of a model's backbone since ``before``, by all ranks; its counter is
    brought up to them."""
    now = counts_of(model)
    if not ranks.is_distributed() or not isinstance(model, ContinualModel):
        return now.macs - before.macs
    # The counter of each rank moves on by what all of them did, so that they stay equal.
    since = [later - earlier for later, earlier in zip(now, before, strict=True)]
    by_all = ranks.total(torch.tensor(since, dtype=torch.float64)).tolist()
    images, blocks = (int(count) for count in by_all[:2])
    model.backbone.counter.go_on_from(
        Counts(before.images + images, before.blocks + blocks, before.macs + by_all[2])
    )
    return float(by_all[2])


def counts_of(model: nn.Module) -> Counts:
    """Counts of a model's backbone; zeros for a model of another kind.

    >>> counts_of(nn.Identity())
    Counts(images=0, blocks=0, macs=0.0)
    """
    return model.backbone.counter.counts() if isinstance(model, ContinualModel) else Counts()
