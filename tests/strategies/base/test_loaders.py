"""Batches in stream order, repeated."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.strategies.base.loaders import RepeatedBatches


@pytest.mark.parametrize("order", [None, torch.Generator().manual_seed(0)])
def test_repeated_batches(order: torch.Generator | None) -> None:
    batches = list(sampler := RepeatedBatches(10, 4, 3, order))
    assert len(batches) == len(sampler) == 9
    assert batches[0] == batches[1] == batches[2]
    assert sorted([row for batch in batches[::3] for row in batch]) == list(range(10))
    assert ([row for batch in batches[::3] for row in batch] == list(range(10))) == (order is None)
    assert sampler.order.tolist() == [row for batch in batches[::3] for row in batch]
    assert list(RepeatedBatches(0, 4, 3)) == []
