"""How prompts enter frozen blocks: every injection against its literal form."""

from typing import Any

import pytest
import torch

from cl_prompts.backbones.attention import run_block
from cl_prompts.backbones.injection import PromptPlan
from tests.toy_vits import VIT_VARIANTS, tiny_vit


@pytest.mark.parametrize("variant", VIT_VARIANTS.values(), ids=VIT_VARIANTS.keys())
def test_context_tokens_equal_appending_and_removing_them(variant: dict[str, Any]) -> None:
    block = tiny_vit(**variant).vit.blocks[1]
    tokens = torch.randn(2, 5, 16)
    context = torch.randn(2, 3, 16)
    literal = block(torch.cat([tokens, context], dim=1))[:, :5]
    torch.testing.assert_close(
        run_block(block, tokens, context=context), literal, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        run_block(block, tokens, context=context, first=1), literal[:, :1], atol=1e-5, rtol=0
    )
    shared = run_block(block, tokens, context=context[:1])
    literal = block(torch.cat([tokens, context[:1].expand(2, -1, -1)], 1))[:, :5]
    torch.testing.assert_close(shared, literal, atol=1e-5, rtol=0)


def test_plans_add_up_block_by_block() -> None:
    a = PromptPlan(
        prepended=torch.zeros(1, 2, 4),
        context={0: torch.zeros(1, 2, 4)},
        prefix={1: (torch.zeros(1, 2, 3, 2),) * 2},
        additive={1: (torch.ones(1, 2, 2),) * 2},
    )
    b = PromptPlan(
        prepended=torch.ones(5, 1, 4),
        context={0: torch.ones(5, 1, 4), 2: torch.ones(5, 1, 4)},
        prefix={1: (torch.ones(5, 2, 1, 2),) * 2},
        additive={1: (torch.ones(1, 2, 2),) * 2, 2: (torch.ones(1, 2, 2),) * 2},
    )
    a.add(b)
    assert a.prepended.shape == (5, 3, 4)
    assert a.context[0].shape == (5, 3, 4)
    assert set(a.context) == {0, 2}
    assert a.prefix[1][0].shape == (5, 2, 4, 2)
    assert [values.max() for values, _ in a.additive.values()] == [2, 1]
    assert a.extra_keys(0) == (3, 0)
    assert a.extra_keys(1) == (0, 4)
    assert a.context[0][:, :2].sum() == 0
    assert a.context[0][:, 2:].min() == 1
