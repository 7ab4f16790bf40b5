"""Features that a classifier keeps to choose a setting on them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from cl_prompts.training.buffers import ReservoirBuffer


class HeldOutSample(nn.Module):
    """A uniform sample of the stream so far: features and targets, by reservoir sampling.

    Args:
        size: samples that are kept; 0 keeps none.
        dim: width of a feature.
        columns: width of a target.
        seed: of the sampling.
        dtype: of what is kept.

    Example:
        >>> held = HeldOutSample(10, 4, 3, seed=1)
        >>> held.add(torch.randn(25, 4), torch.randn(25, 3))
        >>> len(held)
        10
    """

    class_axes: ClassVar = {"targets": 1}
    features: Tensor
    targets: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        columns: int,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.reservoir = ReservoirBuffer(size, seed=seed)
        self.register_buffer("features", torch.zeros(size, dim, dtype=dtype))
        self.register_buffer("targets", torch.zeros(size, columns, dtype=dtype))

    def __len__(self) -> int:
        return len(self.reservoir)

    @property
    def samples(self) -> tuple[Tensor, Tensor]:
        """Features (n, dim) and targets (n, columns) of the samples that are kept."""
        n = len(self)
        return self.features[:n], self.targets[:n]

    def clear(self) -> None:
        """Begin a sample anew."""
        self.features.zero_()
        self.targets.zero_()
        self.reservoir.filled = self.reservoir.offered = 0

    @torch.no_grad()
    def add(self, features: Tensor, targets: Tensor) -> None:
        """Offer a batch: features (batch, dim), targets (batch, columns)."""
        if not self.reservoir.size:
            return
        # Which slots samples get is all that is asked of the buffer, so it is given zeros.
        slots = self.reservoir.add(torch.zeros(len(features), 1, dtype=torch.int64))
        rows = (slots >= 0).nonzero()[:, 0]  # looked up on the CPU, so that a GPU need not stop
        to = slots[rows].to(features.device)
        rows = rows.to(features.device)
        self.features[to] = features[rows].to(self.features.dtype)
        self.targets[to] = targets[rows].to(self.targets.dtype)

    def get_extra_state(self) -> Tensor:
        """Counters and generator in one tensor, so that ``state_dict`` holds tensors alone."""
        counters = torch.tensor([self.reservoir.filled, self.reservoir.offered])
        return torch.cat([counters, self.reservoir.generator.get_state().long()])

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.reservoir.filled, self.reservoir.offered = state[:2].tolist()
        self.reservoir.generator.set_state(state[2:].to("cpu", torch.uint8))
