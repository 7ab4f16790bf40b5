"""Features held out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from cl_prompts.closed_form.held_out import HeldOutSample


def data(n: int = 80) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 6, generator=generator), torch.randn(n, 3, generator=generator)


def test_held_out_sample_resumes() -> None:
    x, y = data()
    held, twin = (HeldOutSample(10, 6, 3, seed=1) for _ in range(2))
    held.add(x[:50], y[:50])
    twin.load_state_dict(copy.deepcopy(held.state_dict()))
    for each in (held, twin):
        each.add(x[50:], y[50:])
    assert torch.equal(held.features, twin.features)
    assert torch.equal(held.targets, twin.targets)
    rows = {tuple(row) for row in x.tolist()}
    assert all(tuple(row) in rows for row in held.samples[0].float().tolist())
    empty = HeldOutSample(0, 6, 3)
    empty.add(x, y)
    assert len(empty) == 0


def test_targets_stay_with_their_features() -> None:
    x, _ = data()
    held = HeldOutSample(10, 6, 1, seed=1)
    for part in x.split(7):
        held.add(part, part.sum(dim=1, keepdim=True))
    features, targets = held.samples
    torch.testing.assert_close(features.sum(dim=1, keepdim=True), targets)
