"""Learning-rate schedules over the epochs of a task.

CODA-Prompt's golden values are in ``tests/prompts/test_golden.py``.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cl_prompts.training.schedules import learning_rate_factor, scale_learning_rates


def test_constant_stays() -> None:
    assert [learning_rate_factor("constant", epoch, 5) for epoch in range(5)] == [1.0] * 5


def test_cosine_falls_from_one_towards_zero() -> None:
    found = [learning_rate_factor("cosine", epoch, 4) for epoch in range(5)]
    assert found == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0])
    assert learning_rate_factor("cosine", 0, 1) == 1


def test_codas_cosine_ends_above_zero() -> None:
    found = [learning_rate_factor("coda", epoch, 3) for epoch in range(3)]
    assert found == pytest.approx([1, math.cos(99 * math.pi / 400), math.cos(99 * math.pi / 200)])
    assert found[-1] == pytest.approx(0.0157, abs=1e-4)
    assert learning_rate_factor("coda", 0, 1) == 1  # where the published code divides by zero


def test_rates_are_scaled_from_what_they_were_at_first() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.4}]
    )
    for factor in (0.5, 0.25, 1.0):
        scale_learning_rates(optimizer, factor)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.1 * factor, 0.4 * factor])
