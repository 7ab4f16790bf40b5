"""Batches in stream order, repeated."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class RepeatedBatches(Sampler[list[int]]):
    """Batches of rows 0 .. n-1, each ``repeats`` times in a row, so that every repetition draws its
    own augmentation.

    Args:
        n: rows.
        batch_size: rows per batch; the last batch may be shorter.
        repeats: times each batch is yielded.
        generator: of a new order for each pass; None for the order of rows.

    Example:
        >>> list(RepeatedBatches(3, batch_size=2, repeats=2))
        [[0, 1], [0, 1], [2], [2]]
    """

    def __init__(
        self, n: int, batch_size: int, repeats: int, generator: torch.Generator | None = None
    ) -> None:
        self.n = n
        self.batch_size = batch_size
        self.repeats = repeats
        self.generator = generator
        self.order = torch.arange(n)
        self.start = 0
        """Rows of the order that the next pass leaves out, whole batches: they were done before."""

    def __iter__(self) -> Iterator[list[int]]:
        if self.generator is not None:
            self.order = torch.randperm(self.n, generator=self.generator)
        left = self.order[self.start :]
        self.start = 0
        for rows in left.split(self.batch_size) if len(left) else ():
            yield from [rows.tolist()] * self.repeats

    def __len__(self) -> int:
        return self.repeats * -(-self.n // self.batch_size)
