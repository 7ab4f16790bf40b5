"""Prompts that are tokens: of a block, or of the whole sequence."""

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.prompts.pools import ExpertTokens
from cl_prompts.prompts.selectors import Selection


def choose(expert: int, n: int) -> Selection:
    return Selection(torch.full((n, 1), expert), torch.zeros(n, 3), torch.ones(3))


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
            sum(pooled.tokens().square().sum() for pooled in plan.pooled.values()).backward()
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
    with pytest.raises(InputError, match="task 3 has no prompts: they were made for n_tasks=3"):
        fresh.start_task(3)
