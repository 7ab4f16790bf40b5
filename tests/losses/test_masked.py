"""Means over the entries that count."""

from __future__ import annotations

import torch

from cl_prompts.losses.masked import masked_mean


def test_entries_outside_have_no_say_and_no_gradient() -> None:
    values = torch.tensor([[1.0, torch.inf], [4.0, torch.nan]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, False]])
    mean = masked_mean(values, mask)
    assert mean.item() == 2.5
    mean.backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0.5, 0], [0.5, 0]]


def test_of_nothing_it_is_zero() -> None:
    assert masked_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool)).item() == 0
