"""How prompts enter frozen blocks: every injection against its literal form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.backbones.attention import project, run_block
from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.prompts.prefixes import SharedPrefix
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


def test_context_is_a_prefix_of_projected_keys_and_values() -> None:
    block = tiny_vit().vit.blocks[0]
    tokens = torch.randn(2, 5, 16)
    context = torch.randn(2, 3, 16)
    _, keys, values = (
        block.attn.qkv(block.norm1(context)).reshape(2, 3, 3, 2, 8).permute(2, 0, 3, 1, 4)
    )
    want = run_block(block, tokens, context=context)
    torch.testing.assert_close(
        run_block(block, tokens, prefix=(keys, values)), want, atol=1e-5, rtol=0
    )
    order = torch.tensor([2, 0, 1])  # the order of prefix rows does not matter
    shuffled = run_block(block, tokens, prefix=(keys[:, :, order], values[:, :, order]))
    torch.testing.assert_close(shuffled, want, atol=1e-5, rtol=0)
    empty = run_block(block, tokens, prefix=(keys[:, :, :0], values[:, :, :0]))
    torch.testing.assert_close(empty, block(tokens), atol=1e-6, rtol=0)


def test_plans_add_up_block_by_block() -> None:
    a = PromptPlan(
        prepended=torch.zeros(1, 2, 4),
        context={0: torch.zeros(1, 2, 4)},
        prefix={1: (torch.zeros(1, 2, 3, 2),) * 2},
    )
    b = PromptPlan(
        prepended=torch.ones(5, 1, 4),
        context={0: torch.ones(5, 1, 4), 2: torch.ones(5, 1, 4)},
        prefix={1: (torch.ones(5, 2, 1, 2),) * 2},
    )
    a.add(b)
    assert a.prepended is not None
    assert a.prepended.shape == (5, 3, 4)
    assert a.context[0].shape == (5, 3, 4)
    assert set(a.context) == {0, 2}
    assert a.prefix[1][0].shape == (5, 2, 4, 2)
    assert a.context[0][:, :2].sum() == 0
    assert a.context[0][:, 2:].min() == 1


def test_extra_keys_are_counted_by_block() -> None:
    plan = PromptPlan(context={1: torch.zeros(1, 3, 4)}, prefix={1: (torch.zeros(1, 2, 5, 2),) * 2})
    assert plan.extra_keys(1) == (3, 5)
    assert plan.extra_keys(0) == (0, 0)


@pytest.mark.parametrize("first", [None, 1])
def test_a_given_projection_changes_nothing(first: int | None) -> None:
    block = tiny_vit().vit.blocks[1]
    tokens = torch.randn(2, 5, 16)
    context = torch.randn(2, 3, 16)
    want = run_block(block, tokens, context=context, first=first)
    projected = project(block.attn, block.norm1(tokens))
    assert projected.shape == (2, 5, 48)
    found = run_block(block, tokens, context=context, first=first, projected=projected)
    torch.testing.assert_close(found, want, atol=1e-6, rtol=0)


def images(n: int = 5) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(7))


def random_prefix(n: int = 3) -> PromptPlan:
    return SharedPrefix((0, 2), n, 16, 2).build(None)


def features(backbone: FrozenViT, plan: PromptPlan) -> Tensor:
    return backbone.class_features(backbone.embed(images()), plan)


def test_order_of_rows_does_not_matter_and_no_rows_are_no_prompt(vit: FrozenViT) -> None:
    plan = random_prefix()
    order = torch.tensor([2, 0, 1])
    shuffled = PromptPlan(
        prefix={b: (k[:, :, order], v[:, :, order]) for b, (k, v) in plan.prefix.items()}
    )
    torch.testing.assert_close(features(vit, shuffled), features(vit, plan), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        features(vit, random_prefix(0)), features(vit, PromptPlan()), atol=1e-5, rtol=0
    )
    assert (features(vit, plan) - features(vit, PromptPlan())).abs().max() > 1e-3


def test_keys_that_no_query_attends_to_have_no_effect(vit: FrozenViT) -> None:
    with torch.no_grad():
        vit.vit.blocks[0].attn.qkv.bias[:16] += 10  # all queries of block 0 lie to one side
    for values in (torch.zeros(1, 2, 1, 8), torch.randn(1, 2, 1, 8)):
        away, near = (
            PromptPlan(prefix={0: (torch.full((1, 2, 1, 8), sign), values)}) for sign in (-9.0, 9.0)
        )
        torch.testing.assert_close(
            features(vit, away), features(vit, PromptPlan()), atol=1e-6, rtol=0
        )
        assert (features(vit, near) - features(vit, PromptPlan())).abs().max() > 1e-2
