"""Features held out."""

import copy

import torch

from cl_prompts.closed_form.held_out import HeldOutSample


def test_held_out_sample_resumes() -> None:
    x = torch.randn(80, 6)
    y = x[:, :3]  # targets stay with their features
    held, twin = (HeldOutSample(10, 6, 3, seed=1) for _ in range(2))
    held.add(x[:50], y[:50])
    twin.load_state_dict(copy.deepcopy(held.state_dict()))
    for each in (held, twin):
        each.add(x[50:], y[50:])
    assert torch.equal(held.features, twin.features)
    assert torch.equal(held.targets, twin.targets)
    assert torch.equal(held.features[:, :3], held.targets)
    rows = {tuple(row) for row in x.tolist()}
    assert all(tuple(row) in rows for row in held.samples[0].float().tolist())
    empty = HeldOutSample(0, 6, 3)
    empty.add(x, y)
    assert len(empty) == 0
