"""Replay memories: which past samples are kept. They hold references to samples, never images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cl_prompts.errors import InputError


class ReservoirMemory:
    """Reservoir sampling (Vitter 1985): every sample of the stream is held with the same probability.

    Slots are preallocated int64; each insertion is decided sample by sample.

    Args:
        size: slots.
        width: numbers that make up one reference (for instance data set and row).
        boundary: ``"sequential"`` decides each sample after the one before it was stored; ``"published"`` reproduces the
            Si-Blurry code, which decides for a whole batch before storing any of it: in the batch that fills the memory
            every overflowing sample overwrites the last slot, so newer samples are under-represented.
        seed: of the private generator.
    """

    def __init__(self, size: int, *, width: int = 1, boundary: str = "sequential", seed: int = 0) -> None:
        if size < 0:
            raise InputError(f"memory size is {size}: it cannot be negative")
        if boundary not in ("sequential", "published"):
            raise InputError(f"reservoir boundary {boundary!r} is not known: it is 'sequential' or 'published'")
        self.size, self.boundary = size, boundary
        self.slots = torch.zeros(size, width, dtype=torch.int64)
        self.filled, self.offered = 0, 0
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.filled

    def add(self, references: Tensor) -> None:
        """Offer a batch of references (batch, width) int64, in stream order."""
        if self.size == 0:
            return
        full_before = self.filled == self.size
        for reference in references:
            self.offered += 1
            full = full_before if self.boundary == "published" else self.filled == self.size
            if full:
                slot = int(torch.randint(0, self.offered, (1,), generator=self.generator))
            else:
                slot = min(self.filled, self.size - 1)
                self.filled = slot + 1
            if slot < self.size:
                self.slots[slot] = reference

    def draw(self, n: int) -> Tensor:
        """``min(n, len)`` distinct references, drawn uniformly: (m, width)."""
        order = torch.randperm(self.filled, generator=self.generator)[:n]
        return self.slots[order]

    def state_dict(self) -> dict[str, Any]:
        """Contents, counters and generator."""
        return {
            "slots": self.slots.clone(),
            "filled": self.filled,
            "offered": self.offered,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.slots = state["slots"].clone()
        self.filled, self.offered = int(state["filled"]), int(state["offered"])
        self.generator.set_state(state["generator"])
