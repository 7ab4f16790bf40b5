"""A bounded sample of features that merges and forgets."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

_FREE = torch.iinfo(torch.int64).max
#: relative difference of two computations of one image's features, in bf16 too
_SAME = 1e-2


class BottomK(nn.Module):
    """Uniform sample of features and one-hot labels: the k rows of smallest hash.

    Bottom-k sampling (Cohen and Kaplan, PODC 2007) with :func:`keys_of` of the features. The sample
    does not depend on the order of the stream, and two samples merge by union. A row leaves with
    the image that is subtracted. The sample is then smaller, since rows of larger hash are gone: it
    stays uniform, and complete if it never overflowed.

    Args:
        size: k.
        dim: feature width.
        n_classes: columns of the labels.

    Example:
        >>> held = BottomK(10, 4, 3)
        >>> held.add(torch.randn(25, 4), torch.eye(3)[torch.arange(25) % 3])
        >>> len(held)
        10
    """

    class_axes: ClassVar = {"targets": 1}
    unsummed = ("features", "targets")
    features: Tensor
    targets: Tensor
    keys: Tensor
    bound: Tensor

    def __init__(self, size: int, dim: int, n_classes: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("features", torch.zeros(size, dim))
        self.register_buffer("targets", torch.zeros(size, n_classes))
        self.register_buffer("keys", torch.full((size,), _FREE))
        # Every row of the stream with a key below it is in the sample.
        self.register_buffer("bound", torch.tensor(_FREE))

    def __len__(self) -> int:
        return int((self.keys < _FREE).sum())

    @property
    def samples(self) -> tuple[Tensor, Tensor]:
        """Features (n, dim) and targets (n, classes) of the sample, by increasing hash."""
        n = len(self)
        return self.features[:n], self.targets[:n]

    @torch.no_grad()
    def add(self, features: Tensor, targets: Tensor) -> None:
        """Offer a batch: features (batch, dim), one-hot targets (batch, classes)."""
        self._merge(features, targets, keys_of(features))

    def combined(self, other: BottomK | None, sign: int) -> None:
        """Join the sample of other images, or leave out rows of images that are subtracted."""
        if other is None:
            self.clear()
        elif sign > 0:
            self.bound.copy_(torch.minimum(self.bound, other.bound))
            self._merge(other.features, other.targets, other.keys)
        else:
            keys = self.keys.masked_fill(self._contains(other), _FREE)
            self.keys.copy_(keys)
            self._merge(self.features[:0], self.targets[:0], self.keys[:0])

    def clear(self) -> None:
        """Start a new sample."""
        for buffer, value in ((self.features, 0), (self.targets, 0), (self.keys, _FREE)):
            buffer.fill_(value)
        self.bound.fill_(_FREE)

    def _contains(self, other: BottomK) -> Tensor:
        """(size,) which rows are in another sample; features may be computed anew."""
        theirs = other.samples[0]
        near = _SAME * self.features.norm(dim=1, keepdim=True)
        return (torch.cdist(self.features, theirs) <= near).any(dim=1) | torch.isin(
            self.keys, other.keys
        )

    def _merge(self, features: Tensor, targets: Tensor, keys: Tensor) -> None:
        # Shapes do not depend on data: no GPU synchronisation.
        keys = torch.cat([self.keys, keys])
        keys = keys.where(keys < self.bound, _FREE)
        keys, order = keys.sort(stable=True)
        kept, free = order[: self.size], keys[: self.size, None] == _FREE
        for mine, more in ((self.features, features), (self.targets, targets)):
            # Nothing stays of a row that left.
            mine.copy_(torch.cat([mine, more.to(mine.dtype)])[kept].masked_fill(free, 0))
        self.keys.copy_(keys[: self.size])
        if len(keys) > self.size:
            self.bound.copy_(torch.minimum(self.bound, keys[self.size]))


def keys_of(features: Tensor) -> Tensor:
    """(n,) int64 hashes of features (n, dim), uniform, equal in spite of rounding.

    Length and four random projections are rounded to steps, then mixed.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(features.shape[1], 4, dtype=torch.float64, generator=generator)
    x = features.double()
    length = x.norm(dim=1, keepdim=True).clamp(min=1e-30)
    steps = 100 * torch.cat([(x / length) @ directions.to(x.device), length.log()], dim=1)
    keys = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for column in steps.floor().long().T:
        # SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); sums wrap around
        keys = keys + column - 0x61C8864680B583EB
        keys = (keys ^ (keys >> 30)) * -0x40A7B892E31B1A47
        keys = (keys ^ (keys >> 27)) * -0x6B2FB644ECCEEE15
        keys = keys ^ (keys >> 31)
    return keys & (_FREE >> 1)
