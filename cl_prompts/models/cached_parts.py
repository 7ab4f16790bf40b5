"""Cacheable parts of forward passes, kept by row of a data set."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor


class CachedPart:
    """One cacheable part of the forward passes over a data set's rows.

    Args:
        version: of the part, see :meth:`~cl_prompts.models.base.ContinualModel.cache_keys`.
        n: rows.
        device: where values are kept.

    Attributes:
        known: (n,) boolean, rows that have a value; on the CPU.
        values: (n, width) fp32, once a value is known.

    Example:
        >>> part = CachedPart(0, n=3)
        >>> part.put(torch.tensor([2]), torch.tensor([[1.0, 0.5]]))
        >>> part.known.tolist(), part.values[2].tolist()
        ([False, False, True], [1.0, 0.5])
    """

    def __init__(self, version: Hashable, n: int, device: torch.device | str = "cpu") -> None:
        self.version = version
        self.device = torch.device(device)
        self.known = torch.zeros(n, dtype=torch.bool)
        self.values = torch.zeros(n, 0, device=self.device)

    def put(self, rows: Tensor, values: Tensor) -> None:
        """Keep the values (batch, width) of rows (batch,)."""
        if self.values.shape[1] != values.shape[1]:
            self.values = torch.zeros(len(self.known), values.shape[1], device=self.device)
        self.values[rows.to(self.device)] = values
        self.known[rows.cpu()] = True
