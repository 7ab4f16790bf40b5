"""Tokens chosen from a pool: projected once an entry, with the numbers and gradients of one
projection an image."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.injection import PooledTokens, PromptPlan
from cl_prompts.backbones.vit import FrozenViT
from tests.toy_vits import lively_vit

ENTRIES = 3
LENGTH = 2


def plan_of(index: Tensor, blocks: tuple[int, ...] = (0, 2), *, seed: int = 0) -> PromptPlan:
    draw = torch.Generator().manual_seed(seed)
    entries = [torch.randn(ENTRIES, LENGTH, 16, generator=draw).requires_grad_() for _ in blocks]
    return PromptPlan(
        context={0: torch.randn(1, 2, 16, generator=draw)},
        pooled={b: PooledTokens(e, index) for b, e in zip(blocks, entries, strict=True)},
    )


def by_image(plan: PromptPlan) -> PromptPlan:
    """The same prompts as plain context tokens."""
    plain = replace(plan, pooled={}, context=dict(plan.context))
    plain.add(PromptPlan(context={b: pooled.tokens() for b, pooled in plan.pooled.items()}))
    return plain


def passed(vit: FrozenViT, tokens: Tensor, plan: PromptPlan, of: PromptPlan) -> list[Tensor]:
    """Features, and gradients of the entries of ``of``."""
    features = vit.class_features(tokens, plan)
    entries = [pooled.entries for pooled in of.pooled.values()]
    return [features, *torch.autograd.grad(features.square().sum(), entries)]


@pytest.mark.slow
@given(k=st.integers(1, 2), batch=st.integers(1, 6), seed=st.integers(0, 99))
def test_one_projection_an_entry_changes_nothing(k: int, batch: int, seed: int) -> None:
    vit = lively_vit()
    draw = torch.Generator().manual_seed(seed)
    index = torch.randint(ENTRIES, (batch, k), generator=draw)
    plan = plan_of(index, seed=seed)
    tokens = vit.embed(torch.rand(batch, 3, 16, 16, generator=draw))
    for found, want in zip(
        passed(vit, tokens, plan, plan), passed(vit, tokens, by_image(plan), plan), strict=True
    ):
        torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("batch", "rows"), [(2, 2), (3, 3), (4, ENTRIES), (50, ENTRIES)])
def test_the_cheaper_projection_is_taken(batch: int, rows: int) -> None:
    vit = lively_vit()
    plan = replace(plan_of(torch.arange(batch)[:, None] % ENTRIES), context={})
    tokens = vit.embed(torch.rand(batch, 3, 16, 16))
    vit.counter.reset()
    with FlopCounterMode(display=False) as flops, sdpa_kernel(SDPBackend.MATH):
        vit.class_features(tokens, plan)
    assert vit.counter.macs == pytest.approx(flops.get_total_flops() / 2)
    spent = vit.counter.macs
    vit.counter.reset()
    vit.class_features(tokens, by_image(plan))
    one = LENGTH * 2 * vit.dim * vit.dim
    assert vit.counter.macs - spent == 2 * (batch - rows) * one


def test_pools_of_two_plans_share_a_block() -> None:
    vit = lively_vit(qk_norm=True)  # keys of the entries are normalised like all others
    index = torch.tensor([[0], [1], [2], [2]])
    both = plan_of(index)
    second = plan_of(index.flip(0), seed=1)
    want = by_image(both)
    want.add(by_image(second))
    both.add(second)
    assert both.extra_keys(0) == want.extra_keys(0) == (2 * (2 + LENGTH), 0)
    assert plan_of(index, blocks=(2,)).extra_keys(2) == (LENGTH, 0)
    tokens = vit.embed(torch.rand(4, 3, 16, 16))
    torch.testing.assert_close(
        vit.class_features(tokens, both), vit.class_features(tokens, want), atol=1e-5, rtol=1e-5
    )


def test_a_gate_is_for_prefixes_alone() -> None:
    vit = lively_vit()
    plan = plan_of(torch.tensor([[0], [1], [2], [2]]))
    keys, values = torch.randn(2, 1, 2, 3, 8)
    gated = PromptPlan(prefix={2: (keys, values)}, gate={2: lambda scores: 3 * torch.tanh(scores)})
    want = replace(by_image(plan), prefix={}, gate={})
    want.add(gated)
    plan.add(gated)
    tokens = vit.embed(torch.rand(4, 3, 16, 16))
    torch.testing.assert_close(
        vit.class_features(tokens, plan), vit.class_features(tokens, want), atol=1e-5, rtol=1e-5
    )


def test_gradients_of_many_images_are_summed_in_fp32() -> None:
    """Of 256 images that choose one entry; sums in bf16 are off by several percent."""
    vit = FrozenViT(lively_vit().vit, precision="bf16")
    plan = plan_of(torch.ones(256, 1, dtype=torch.int64))
    draw = torch.Generator().manual_seed(0)
    tokens = vit.embed(torch.rand(256, 3, 16, 16, generator=draw))
    for way in (plan, by_image(plan)):
        entries = [pooled.entries for pooled in plan.pooled.values()]
        loss = vit.class_features(tokens, way).sum()
        for found, want in zip(
            torch.autograd.grad(loss, entries), exact(plan, tokens.float()), strict=True
        ):
            assert float((found - want)[1].norm() / want[1].norm()) < 0.03


def exact(plan: PromptPlan, tokens: Tensor) -> tuple[Tensor, ...]:
    entries = [pooled.entries for pooled in plan.pooled.values()]
    return torch.autograd.grad(lively_vit().class_features(tokens, plan).sum(), entries)
