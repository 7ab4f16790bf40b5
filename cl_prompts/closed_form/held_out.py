"""Held-out features on which a classifier chooses a setting."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from cl_prompts.closed_form.sums import Limits
from cl_prompts.training.buffers import ReservoirBuffer


class HeldOutSample(nn.Module):
    """Uniform sample of features and targets of the stream, by reservoir sampling.

    Args:
        size: number of samples; 0: none.
        dim: feature width.
        columns: target width.
        seed: of the sampling.

    Example:
        >>> held = HeldOutSample(10, 4, 3, seed=1)
        >>> held.add(torch.randn(25, 4), torch.randn(25, 3))
        >>> len(held)
        10
    """

    class_axes: Mapping[str, int] = {"targets": 1}
    unsummed = ("features", "targets")
    features: Tensor
    targets: Tensor

    def __init__(self, size: int, dim: int, columns: int, *, seed: int = 0) -> None:
        super().__init__()
        self.reservoir = ReservoirBuffer(size, seed=seed)
        self.register_buffer("features", torch.zeros(size, dim, dtype=torch.float64))
        self.register_buffer("targets", torch.zeros(size, columns, dtype=torch.float64))

    def __len__(self) -> int:
        return len(self.reservoir)

    @property
    def samples(self) -> tuple[Tensor, Tensor]:
        """Features (n, dim) and targets (n, columns) of the sample."""
        n = len(self)
        return self.features[:n], self.targets[:n]

    def limits(self) -> Limits:
        """No sample can be taken out."""
        if not self.reservoir.size:
            return Limits()
        return Limits(
            subtract="its held-out sample cannot be drawn again without some images",
            order="a setting is chosen on a random sample of it",
        )

    def combined(self, other: HeldOutSample | None, sign: int) -> None:
        """Draw a uniform sample of both streams from the two samples."""
        if other is None:
            self.clear()
            return
        ours, theirs = self.reservoir, other.reservoir
        total = ours.offered + theirs.offered
        n = min(ours.size, total)
        # Of n samples drawn from both streams so many come from this one; they are a uniform sample
        # of its uniform sample.
        seed = int(torch.randint(2**62, (), generator=ours.generator))
        draws = np.random.default_rng(seed)
        own = int(draws.hypergeometric(ours.offered, theirs.offered, n)) if n else 0
        kept = draws.permutation(len(self))[:own].tolist()
        new = draws.permutation(len(other))[: n - own].tolist()
        for mine, foreign in ((self.features, other.features), (self.targets, other.targets)):
            mine[:n] = torch.cat([mine[kept], foreign[new]])
        ours.filled, ours.offered = n, total

    def clear(self) -> None:
        """Start a new sample."""
        self.features.zero_()
        self.targets.zero_()
        self.reservoir.filled = self.reservoir.offered = 0

    @torch.no_grad()
    def add(self, features: Tensor, targets: Tensor) -> None:
        """Offer a batch: features (batch, dim), targets (batch, columns)."""
        if not self.reservoir.size:
            return
        # The buffer only assigns slots, so it gets zeros.
        slots = self.reservoir.add(torch.zeros(len(features), 1, dtype=torch.int64))
        rows = (slots >= 0).nonzero()[:, 0]  # on the CPU: no GPU synchronisation
        to = slots[rows].to(features.device)
        rows = rows.to(features.device)
        self.features[to] = features[rows].to(self.features.dtype)
        self.targets[to] = targets[rows].to(self.targets.dtype)

    def get_extra_state(self) -> Tensor:
        """Counters and generator in one tensor, so that ``state_dict`` holds only tensors."""
        counters = torch.tensor([self.reservoir.filled, self.reservoir.offered])
        return torch.cat([counters, self.reservoir.generator.get_state().long()])

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.reservoir.filled, self.reservoir.offered = state[:2].tolist()
        self.reservoir.generator.set_state(state[2:].to("cpu", torch.uint8))
