"""Prompts of experts that are trained one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.prompts.experts import ExpertTokens
from cl_prompts.prompts.selectors import Selection


def choose(expert: int | Tensor, n: int) -> Selection:
    index = torch.as_tensor(expert).expand(n)[:, None]
    return Selection(index, torch.zeros(n, 3), torch.ones(3))


def test_experts_begin_as_the_mean_of_their_predecessors_and_end_frozen() -> None:
    experts = ExpertTokens(3, range(2), 4, 8)
    first = experts.values[0].detach().clone()
    optimizer = torch.optim.Adam(experts.parameters(), lr=0.1)
    for expert in range(3):
        experts.start_task(expert)
        fixed = [v.detach().clone() for v in list(experts.values)[:expert]]
        for _ in range(3):
            optimizer.zero_grad()
            plan = experts.build(choose(expert, 5))
            sum(tokens.square().sum() for tokens in plan.context.values()).backward()  # type: ignore[union-attr]
            optimizer.step()
        for before, values in zip(fixed, experts.values, strict=False):
            assert torch.equal(before, values)
    assert not torch.equal(first, experts.values[0])
    fresh = ExpertTokens(3, range(2), 4, 8)
    fresh.start_task(1)
    fresh.start_task(2)
    assert torch.equal(fresh.values[1], fresh.values[0])
    twin = ExpertTokens(3, range(2), 4, 8)
    twin.load_state_dict(fresh.state_dict())
    assert [v.requires_grad for v in twin.values] == [False, False, True]
    with pytest.raises(InputError, match=r"expert must be a whole number from 0 to 2"):
        fresh.start_task(3)


def test_each_image_gets_the_tokens_of_its_expert() -> None:
    position = torch.randn(8)
    experts = ExpertTokens(3, (1, 4), 2, 8, position=position)
    context = experts.build(choose(torch.tensor([2, 0]), 2)).context
    assert set(context) == {1, 4}
    for i, block in enumerate((1, 4)):
        literal = torch.stack([experts.values[2][i], experts.values[0][i]]) + position
        assert torch.equal(context[block], literal)


def test_there_is_at_least_one_expert() -> None:
    with pytest.raises(InputError, match="n_experts"):
        ExpertTokens(0, (0,), 2, 8)
