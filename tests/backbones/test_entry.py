"""Passes that share their first blocks: the same numbers and gradients, counted work saved."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.strategies import Decomposed
from tests.toy_vits import DEPTH, lively_vit, tiny_vit
from tests.toys import cls_of, make

#: strategies whose prompts can start late, with the first prompted block
LATE: dict[str, tuple[dict[str, Any], int]] = {
    "mvp": ({"g_blocks": (2,), "e_blocks": (3, 1), "g_length": 2, "e_length": 3}, 1),
    "dual_prompt": ({"g_blocks": (2,), "e_blocks": (3,), "g_length": 2, "e_length": 3}, 2),
    "coda_prompt": ({"n_components": 4, "prompted_blocks": (3, 2), "prompt_length": 4}, 2),
    "hide_prompt": ({"prompted_blocks": (1, 3), "prompt_length": 2, "n_tasks": 2}, 1),
    "vq_prompt": ({"pool_size": 4, "prompted_blocks": (3,), "prompt_length": 2}, 3),
    "l2p": ({"pool_size": 4, "top_k": 2}, 0),
}


def late_model(kind: str, backbone: FrozenViT) -> Any:
    options, _ = LATE[kind]
    strategy = cls_of(kind)(backbone=backbone, n_classes=6, device="cpu", evaluator=None, **options)
    strategy.model.observe_classes(torch.arange(6))
    return strategy.model


@pytest.mark.parametrize("kind", LATE)
def test_blocks_before_the_first_prompts_run_once(kind: str) -> None:
    torch.manual_seed(0)
    backbone = lively_vit()
    model = late_model(kind, backbone)
    images = torch.rand(3, 3, 16, 16)
    with FlopCounterMode(display=False) as flops, sdpa_kernel(SDPBackend.MATH):
        encoding = model.encode(images, {})
        passes = backbone.counter.macs, flops.get_total_flops() / 2
    assert passes[0] == pytest.approx(passes[1])
    apart = replace(encoding, entry=None)
    results = []
    for way in (encoding, apart):
        backbone.counter.reset()
        out = model.decode(way)
        model.zero_grad()
        out.features.square().sum().backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append((out, gradients, backbone.counter.blocks, backbone.counter.macs))
    first = LATE[kind][1]
    (shared, mine, blocks, macs), (own, theirs, all_blocks, all_macs) = results
    assert encoding.entry.block == first
    assert not encoding.entry.tokens.requires_grad
    assert (blocks, all_blocks) == (3 * (DEPTH - first), 3 * DEPTH)
    shape = backbone.counter.shape
    # The last block asks for the class token alone, besides keys and values of all.
    asked = 5 + 5 + (1 if first == DEPTH - 1 else 5)
    saved = first * shape.block_macs(5) + asked * shape.dim * shape.width
    assert all_macs - macs == pytest.approx(3 * saved)
    torch.testing.assert_close(shared.logits, own.logits, atol=1e-5, rtol=1e-5)
    assert mine.keys() == theirs.keys()
    assert mine
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-4, rtol=1e-4, msg=name)


def test_a_cached_query_shares_the_same_blocks_at_no_cost() -> None:
    model = late_model("dual_prompt", lively_vit()).eval()
    images = torch.rand(2, 3, 16, 16)
    counter = model.backbone.counter
    with torch.no_grad():
        first = model.run(images)
        costs = []
        for entered in (True, False):
            counter.reset()
            again = model.encode(images, first.cacheable)
            assert again.entry.block == 2
            if not entered:
                counter.reset()
                again = replace(again, tokens=model.backbone.embed(images), entry=None)
            found = model.decode(again)
            torch.testing.assert_close(found.logits, first.logits, atol=1e-5, rtol=1e-5)
            costs.append(counter.macs)
    assert costs[0] == costs[1]


def test_passes_over_shifted_tokens_share_nothing() -> None:
    strategy = make("dual_prompt", backbone=lively_vit(), prompt_form=Decomposed(rank=2))
    model = strategy.model.eval()
    images = torch.rand(2, 3, 16, 16)
    counter = model.backbone.counter
    first = model.encode(images, {})
    counter.reset()
    again = model.encode(images, first.parts)
    assert first.entry is again.entry is None
    assert counter.macs == 2 * counter.shape.embed_macs


TWO = {0: torch.zeros(1, 2, 16)}


@pytest.mark.parametrize(
    ("plan", "first"),
    [
        (PromptPlan(context=TWO), 0),
        (PromptPlan(prefix={3: (torch.zeros(1, 2, 2, 8),) * 2}, gate={1: torch.tanh}), 1),
        (PromptPlan(additive={2: (torch.zeros(1, 2, 8),) * 2}), 2),
        (PromptPlan(offset=torch.zeros(1, 5, 16)), 0),
        (PromptPlan(prepended=torch.zeros(1, 2, 16), context={2: TWO[0]}), 0),
    ],
)
def test_an_entry_behind_the_first_prompts_is_refused(plan: PromptPlan, first: int) -> None:
    backbone = tiny_vit()
    tokens = backbone.embed(torch.rand(1, 3, 16, 16))
    assert plan.first_block() == first
    with pytest.raises(AssertionError):
        backbone.blocks(tokens, plan, entry=backbone.enter(tokens, 3))
