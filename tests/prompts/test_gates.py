"""NoRGa's gate against published numbers."""

from typing import get_args

import pytest
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from cl_prompts.backbones.attention import KeyValue, run_block
from cl_prompts.prompts.prefixes import GateActivation, ScoreGate
from tests.golden_numbers import Golden, gradient, put

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
