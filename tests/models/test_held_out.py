"""Features that are held out: a uniform sample of the stream."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.models.held_out import HeldOutSample


def data(n: int = 80) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 6, generator=generator) + 1
    y = torch.randn(n, 3, generator=generator) + x[:, :3]
    return x, y, torch.rand(n, generator=generator)


def test_held_out_sample_resumes() -> None:
    x, y, _ = data()
    held, twin = (HeldOutSample(10, 6, 3, seed=1) for _ in range(2))
    held.add(x[:50], y[:50])
    twin.load_state_dict(copy.deepcopy(held.state_dict()))
    for each in (held, twin):
        each.add(x[50:], y[50:])
    assert torch.equal(held.features, twin.features)
    assert torch.equal(held.targets, twin.targets)
    rows = {tuple(row) for row in x.tolist()}
    assert all(tuple(row) in rows for row in held.kept[0].float().tolist())
    empty = HeldOutSample(0, 6, 3)
    empty.add(x, y)
    assert len(empty) == 0


def test_every_sample_is_held_with_the_same_probability() -> None:
    x = torch.arange(40.0)[:, None]
    counts = torch.zeros(40)
    for seed in range(300):
        held = HeldOutSample(10, 1, 1, seed=seed)
        for part in x.split(7):
            held.add(part, -part)
        features, targets = held.kept
        assert torch.equal(features, -targets)
        counts[features[:, 0].long()] += 1
    assert counts.sum() == 3000
    assert (counts / 300 - 0.25).abs().max() < 0.13  # five standard deviations


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InputError, match="held_out must be a whole number of at least 0"):
        HeldOutSample(-1, 4, 2)
