"""Additive prompts against published numbers, and their mergers."""

from __future__ import annotations

import torch

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.losses.classification import masked_cross_entropy
from cl_prompts.models.heads import UnitRowHead
from cl_prompts.prompts.additive import AdditivePrompt
from cl_prompts.prompts.task_aware import start_task
from tests.golden_numbers import Golden, golden_vit, gradient, put

GOLDEN = Golden("additive")
CURRENT = torch.arange(8)[None].eq(torch.tensor([[2], [3]])).any(dim=0)


def test_published_model() -> None:
    vit = golden_vit()
    head = UnitRowHead(32, 8)
    prompt = AdditivePrompt(range(6), 32, 4)
    put(prompt.values, GOLDEN("prompt"))
    put(head.weight, GOLDEN("head_weight"))
    features = vit.class_features(vit.embed(GOLDEN("images")), prompt.build(None))
    GOLDEN.close(features, "features")
    logits = head(features)
    GOLDEN.close(logits, "logits")
    loss = masked_cross_entropy(logits, GOLDEN("labels"), CURRENT)
    GOLDEN.close(loss, "loss")
    loss.backward()
    GOLDEN.close(gradient(prompt.values), "grad_prompt")
    GOLDEN.close(gradient(head.weight), "grad_head_weight")


def test_published_mergers() -> None:
    prompt = AdditivePrompt(range(6), 32, 4, beta=0.7)
    for task in range(3):
        prompt.train()
        start_task(prompt, task)
        put(prompt.values, GOLDEN(f"fusion/task{task}/prompt"))
        assert prompt.used() is prompt.values
        prompt.eval()
        GOLDEN.close(prompt.used(), f"fusion/task{task}/merged")
    twin = AdditivePrompt(range(6), 32, 4, beta=0.7).eval()
    twin.load_state_dict(prompt.state_dict())
    assert torch.equal(twin.used(), prompt.used())


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
