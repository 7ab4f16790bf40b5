"""Averages of prompts: weights, tasks, state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cl_prompts.errors import InputError
from cl_prompts.models.averaged_prompts import AveragedPrompts
from cl_prompts.prompts.pools import SharedTokens, TokenPool
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.training.averaging import gaussian_weights
from tests.golden_numbers import put


def test_evaluation_uses_the_gaussian_average_and_training_the_values() -> None:
    pool = AveragedPrompts(SharedTokens((0, 1), 3, 8), n=5, mean=3, std=1)
    states = torch.randn(5, 2, 3, 8)
    for i, (state, weights) in enumerate(
        zip(states, (gaussian_weights(5, 3, 1)[: n + 1] for n in range(5)), strict=True)
    ):
        put(pool.inner.values, state)
        assert pool.train().values is pool.inner.values
        pool.take_checkpoint()
        share = torch.tensor(weights) / sum(weights)
        want = torch.einsum("n,nblc->blc", share, states[: i + 1])
        torch.testing.assert_close(pool.eval().values, want)
        torch.testing.assert_close(pool.build(None).context[1][0], want[1])
    before = pool.values.clone()
    pool.take_checkpoint()  # all were taken
    assert torch.equal(pool.values, before)


def test_before_the_first_checkpoint_evaluation_uses_the_values() -> None:
    pool = AveragedPrompts(SharedTokens((0,), 3, 8), n=10).eval()
    assert torch.equal(pool.values, pool.inner.values)
    put(pool.inner.values, torch.ones(1, 3, 8))
    pool.take_checkpoint()  # whose weight, far from the mean, is tiny
    assert float(pool.weight) < 1e-8
    put(pool.inner.values, torch.zeros(1, 3, 8))
    torch.testing.assert_close(pool.values, torch.ones(1, 3, 8))


def test_entries_of_a_finished_task_become_their_average() -> None:
    pool = AveragedPrompts(TokenPool(3, (0,), 2, 8), n=2, mean=1.5, std=1, slots=1)
    start_task(pool, 0)
    first = pool.inner.values.detach().clone()
    pool.take_checkpoint()
    put(pool.inner.values, first + 2)
    pool.take_checkpoint()
    start_task(pool, 1)
    torch.testing.assert_close(pool.inner.values[0], first[0] + 1)
    assert torch.equal(pool.inner.values[1:], first[1:] + 2)
    assert not pool.added
    assert not pool.sums.any()


def test_the_average_is_part_of_the_state() -> None:
    pool, twin = (AveragedPrompts(SharedTokens((0,), 3, 8), n=2) for _ in range(2))
    pool.take_checkpoint()
    twin.load_state_dict(pool.state_dict())
    for each in (pool, twin):
        put(each.inner.values, torch.ones(1, 3, 8))
        each.take_checkpoint()
    assert torch.equal(pool.eval().values, twin.eval().values)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="Linear has no values that could be averaged"):
        AveragedPrompts(nn.Linear(2, 2), n=3)
    with pytest.raises(InputError, match="reaches none of 3 checkpoints"):
        AveragedPrompts(SharedTokens((0,), 3, 8), n=3, mean=1000, std=0.1)
