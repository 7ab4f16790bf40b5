"""Pools around pools: HiDe-Prompt's slots, and PromptSRC's averages against published numbers."""

import pytest
import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.pools import SharedTokens, TokenPool
from cl_prompts.prompts.prefixes import PrefixPool
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.wrapped import AveragedPrompts, MomentumSlots, gaussian_weights
from tests.golden_numbers import Golden, gradient, put

SELF_REGULATION = Golden("self_regulation")


def test_the_mixture_is_kept_at_a_tasks_end() -> None:
    pool = MomentumSlots(PrefixPool(4, (0,), 3, 16, 2, copy_slots=1), momentum=0.25)
    start_task(pool, 0)
    assert pool.values is pool.inner.values
    start_task(pool, 1)
    assert torch.equal(pool.inner.values[1], pool.inner.values[0])  # a copy
    put(pool.inner.values[1], torch.randn_like(pool.inner.values[1]))
    before = pool.values.detach().clone()
    torch.testing.assert_close(before[1], 0.75 * pool.inner.values[1] + 0.25 * pool.inner.values[0])
    start_task(pool, 2)
    assert torch.equal(pool.inner.values[:2], before[:2])
    assert torch.equal(pool.inner.values[2], before[1])
    pool.values.sum().backward()
    assert not gradient(pool.inner.values)[:2].any()


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


@pytest.mark.parametrize("setting", ["20_15_1", "10_6_4", "5_3_1"])
def test_published_weights(setting: str) -> None:
    n, mean, std = (int(number) for number in setting.split("_"))
    got = torch.tensor(gaussian_weights(n, mean, std), dtype=torch.float64)
    SELF_REGULATION.close(got, f"promptsrc/average/weights_{setting}", atol=1e-9)


class _Values(nn.Module):
    """A pool of any values."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.clone())

    def build_from(self, values: Tensor, selection: Selection | None) -> PromptPlan:
        return PromptPlan(prepended=values)


def test_published_average() -> None:
    states = [SELF_REGULATION(f"promptsrc/average/state{i}/prompt") for i in range(5)]
    pool = AveragedPrompts(_Values(states[0]), n=5, mean=3, std=1).eval()
    for state in states:
        put(pool.inner.values, state)
        pool.take_checkpoint()
    pool.take_checkpoint()  # all were taken
    SELF_REGULATION.close(pool.values, "promptsrc/average/result/prompt")
