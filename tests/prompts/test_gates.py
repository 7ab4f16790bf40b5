"""NoRGa's gate against published numbers."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from cl_prompts.backbones.attention import KeyValue, run_block
from cl_prompts.prompts.gates import GateActivation, GatedPrefixes, ScoreGate
from cl_prompts.prompts.prefixes import SharedPrefix
from cl_prompts.prompts.task_aware import start_task
from tests.golden_numbers import Golden, gradient, put
from tests.toy_vits import tiny_vit

GOLDEN = Golden("norga")


def attention() -> Block:
    """A block that is the published attention and nothing else: no norm, no MLP."""
    block = Block(16, 4, qkv_bias=True)
    block.attn.load_state_dict(GOLDEN.state("attention/"))
    block.norm1 = nn.Identity()
    nn.init.zeros_(block.mlp.fc2.weight)
    nn.init.zeros_(block.mlp.fc2.bias)
    return block.requires_grad_(False)


def prefix() -> tuple[Tensor, KeyValue]:
    """The prompt, (batch, 2, n, heads, head dim), and its keys and values by head."""
    prompt = GOLDEN("prompt").requires_grad_()
    keys, values = prompt.transpose(2, 3).unbind(1)
    return prompt, (keys, values)


@pytest.mark.parametrize("when", ["start", "trained"])
@pytest.mark.parametrize("activation", get_args(GateActivation))
def test_published_gates(activation: GateActivation, when: str) -> None:
    case = f"{activation}/{when}"
    gate = ScoreGate(activation)
    if when == "start":
        GOLDEN.close(gate.scale, f"{case}/scale")
    put(gate.scale, GOLDEN(f"{case}/scale"))
    prompt, pair = prefix()
    tokens = GOLDEN("tokens")
    output = run_block(attention(), tokens, prefix=pair, gate=gate) - tokens
    GOLDEN.close(output, f"{case}/output")
    (output * GOLDEN("loss_weight")).sum().backward()
    GOLDEN.close(gradient(prompt), f"{case}/grad_prompt")
    GOLDEN.close(gradient(gate.scale), f"{case}/grad_scale", atol=1e-4)


def test_without_gate_it_is_the_plain_prefix() -> None:
    _, pair = prefix()
    tokens = GOLDEN("tokens")
    closed = ScoreGate()
    put(closed.scale, torch.tensor([1.0, 0.0]))
    for gate in (None, closed):
        output = run_block(attention(), tokens, prefix=pair, gate=gate) - tokens
        GOLDEN.close(output, "plain_prefix/output")
    alone = run_block(attention(), tokens, prefix=pair, gate=closed, first=1) - tokens[:, :1]
    torch.testing.assert_close(alone, GOLDEN("plain_prefix/output")[:, :1], atol=2e-5, rtol=0)


def test_gates_train_in_the_first_task_only() -> None:
    pool = GatedPrefixes(SharedPrefix((0, 2), 3, 16, 2), (0, 2))
    vit = tiny_vit()
    images = torch.rand(2, 3, 16, 16)

    def step() -> None:
        pool.zero_grad()
        vit.class_features(vit.embed(images), pool.build(None)).square().sum().backward()

    start_task(pool, 0)
    step()
    assert all(gradient(p).any() for p in pool.parameters())
    start_task(pool, 1)
    step()
    assert [gradient(p).any().item() for p in pool.gates.parameters()] == [False, False]
    assert gradient(pool.pool.values).any()  # type: ignore[arg-type]
    twin = GatedPrefixes(SharedPrefix((0, 2), 3, 16, 2), (0, 2))
    twin.load_state_dict(pool.state_dict())
    assert not any(p.requires_grad for p in twin.gates.parameters())
