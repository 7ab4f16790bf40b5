"""The two sides of an attention, put together, are the attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.backbones.attention import (
    attention_output,
    by_head,
    output_gate,
    project,
    project_parts,
)
from tests.toys import VIT_VARIANTS, tiny_vit

TOKENS = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("variant", VIT_VARIANTS.values(), ids=VIT_VARIANTS.keys())
def test_projection_attention_and_output_are_the_block(variant: dict[str, Any]) -> None:
    block = tiny_vit(**variant).vit.blocks[1]
    attn, normed = block.attn, block.norm1(TOKENS)
    query, keys, values = by_head(attn, project(block, TOKENS), 3)
    assert query.shape == (2, 2, 5, 8)
    attended = F.scaled_dot_product_attention(attn.q_norm(query), attn.k_norm(keys), values)
    found = attention_output(attn, attended, normed)
    torch.testing.assert_close(found, attn(normed), atol=1e-5, rtol=0)
    assert output_gate(attn) is None


@pytest.mark.parametrize("bias", [True, False])
def test_parts_of_the_projection_are_its_thirds(bias: bool) -> None:
    block = tiny_vit(qkv_bias=bias).vit.blocks[0]
    whole = block.attn.qkv(TOKENS)
    for parts, columns in ((slice(0, 1), slice(0, 16)), (slice(1, 3), slice(16, 48))):
        found = project_parts(block.attn, TOKENS, parts)
        torch.testing.assert_close(found, whole[..., columns], atol=1e-6, rtol=0)
