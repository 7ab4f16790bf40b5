"""Cacheable parts of forward passes, kept by row."""

from __future__ import annotations

import torch

from cl_prompts.models.cached_parts import CachedPart


def test_values_are_kept_by_row() -> None:
    part = CachedPart(("version", 1), n=4)
    part.put(torch.tensor([3, 1]), torch.tensor([[3.0], [1.0]]))
    part.put(torch.tensor([1]), torch.tensor([[7.0]]))
    assert part.known.tolist() == [False, True, False, True]
    assert part.values[[1, 3], 0].tolist() == [7, 3]
    assert part.version == ("version", 1)
