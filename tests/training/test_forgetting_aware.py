"""Forgetting-aware steps; their published numbers are in strategies/test_misa.py."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cl_prompts.training.forgetting_aware import ForgettingAware


def test_without_length_it_is_the_optimizer() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    twin = copy.deepcopy(layer)
    x = torch.randn(8, 4)
    y = torch.arange(8) % 3
    plain = torch.optim.Adam(layer.parameters(), lr=0.1)
    fam = ForgettingAware(torch.optim.Adam(twin.parameters(), lr=0.1), rho=0)
    for _ in range(3):
        plain.zero_grad()
        F.cross_entropy(layer(x), y).backward()
        plain.step()
        fam.zero_grad()
        F.cross_entropy(twin(-x), y).backward()
        fam.ascend()
        F.cross_entropy(twin(x), y).backward()
        fam.step()
    assert torch.equal(layer.weight, twin.weight)


def test_parameters_without_gradient_stay() -> None:
    moving = nn.Parameter(torch.ones(2))
    fixed = nn.Parameter(torch.ones(2))
    fam = ForgettingAware(torch.optim.SGD([moving, fixed], lr=0.1), rho=1.0)
    moving.sum().backward()
    fam.ascend()
    assert fixed.tolist() == [1, 1]
    assert (moving - 1).norm().item() == pytest.approx(1)
    moving.square().sum().backward()
    fam.step()
    assert fixed.tolist() == [1, 1]
