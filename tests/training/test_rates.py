"""Schedules, and CLIB's adaptive rate: phases, the test, and which way the pair moves."""

import random

import pytest
import torch
from torch import nn

from cl_prompts.training.rates import AdaptiveRate, learning_rate_factor, scale_learning_rates


def run(
    rate: AdaptiveRate, phases: int, high: float, low: float, noise: float = 0.01, seed: int = 0
) -> None:
    """Whole phases in which the buffer's loss decreases by ``high`` or ``low``."""
    chance = random.Random(seed)
    for _ in range(phases * rate.period):
        mean = high if rate.is_high else low
        rate.update(mean / rate.period + chance.gauss(0, noise) / rate.period)


def test_rates_take_turns() -> None:
    rate = AdaptiveRate(1.0, step=0.5, period=3, length=4)
    lrs = []
    for _ in range(12):
        lrs.append(rate.lr)
        rate.update(0.0)
    assert lrs == [1, 1, 1, 0.5, 0.5, 0.5] * 2
    rate = AdaptiveRate(1.0, step=0.5, period=4)
    assert [rate.update(0.0, updates=2) for _ in range(4)] == [1, 0.5, 0.5, 1]


def test_the_pair_moves_towards_the_better_rate() -> None:
    down = AdaptiveRate(1.0)
    up = AdaptiveRate(1.0)
    run(down, 18, high=0.1, low=0.2)
    run(up, 18, high=0.2, low=0.1)
    assert down.high == up.high == 1.0  # nine observations each: not yet
    run(down, 2, high=0.1, low=0.2)
    run(up, 2, high=0.2, low=0.1)
    assert down.high == pytest.approx(0.95)
    assert up.high == pytest.approx(1 / 0.95)
    assert down.is_high
    assert down.lr == down.high
    run(down, 18, high=0.1, low=0.2)
    assert down.high == pytest.approx(0.95)  # observations started anew
    run(down, 2, high=0.1, low=0.2)
    assert down.high == pytest.approx(0.95**2)


def test_no_move_without_evidence() -> None:
    still = AdaptiveRate(1.0)
    run(still, 40, high=0.0, low=0.0, noise=0.0)
    assert still.high == 1.0
    moves = 0
    for seed in range(200):
        rate = AdaptiveRate(1.0, period=1)
        run(rate, 20, high=0.1, low=0.1, seed=seed)
        moves += rate.high != 1.0
    assert 5 <= moves <= 40  # two sides of 5 %: 20 expected


def test_the_latest_observations_count() -> None:
    rate = AdaptiveRate(1.0, length=5)
    run(rate, 10, high=0.1, low=0.1, noise=0.5, seed=4)
    assert rate.high == 1.0
    run(rate, 10, high=0.1, low=0.3, noise=0.001)
    assert rate.high < 1.0
    assert all(len(f) <= 5 for f in rate.decreases)


def test_cosine_falls_from_one_towards_zero() -> None:
    found = [learning_rate_factor("cosine", epoch, 4) for epoch in range(5)]
    assert found == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0])
    assert learning_rate_factor("cosine", 0, 1) == 1


def test_rates_are_scaled_from_what_they_were_at_first() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.4}]
    )
    for factor in (0.5, 0.25, 1.0):
        scale_learning_rates(optimizer, factor)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.1 * factor, 0.4 * factor])
