"""Plans of additive prompts."""

from __future__ import annotations

import torch

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.additive import AdditivePrompt
from tests.golden_numbers import put


def test_plans_add_up() -> None:
    one, two = (AdditivePrompt((0, 2), 16, 2) for _ in range(2))
    plan = one.build(None)
    plan.add(two.build(None))
    both = AdditivePrompt((0, 2), 16, 2)
    put(both.values, one.values + two.values)
    for block, (key, value) in both.build(None).additive.items():
        torch.testing.assert_close(plan.additive[block][0], key)
        torch.testing.assert_close(plan.additive[block][1], value)
    empty = PromptPlan()
    empty.add(plan)
    assert empty.additive.keys() == {0, 2}
