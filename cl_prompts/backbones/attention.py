"""The input and output sides of a timm ``Attention``, between which prompts can be injected."""

from __future__ import annotations

import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn


def project(block: Block, tokens: Tensor) -> Tensor:
    """Queries, keys and values of a block's tokens, (batch, n, 3 dim), which do not depend on the
    prompts of the block."""
    return block.attn.qkv(block.norm1(tokens))


def project_parts(attn: Attention, normed: Tensor, parts: slice) -> Tensor:
    """The chosen thirds (query, key, value) of the qkv projection.

    Args:
        attn: the attention.
        normed: (batch, n, dim) tokens after the block's first LayerNorm.
        parts: thirds from start to stop; ``slice(1, 3)`` is keys and values.

    Returns:
        (batch, n, thirds * dim)
    """
    weight, bias = attn.qkv.weight, attn.qkv.bias
    third = weight.shape[0] // 3
    rows = slice(parts.start * third, parts.stop * third)
    return F.linear(normed, weight[rows], None if bias is None else bias[rows])


def by_head(attn: Attention, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
    """(batch, n, parts * heads * head dim) -> ``parts`` tensors (batch, heads, n, head dim)."""
    batch, n, _ = projected.shape
    return projected.reshape(batch, n, parts, attn.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def attention_output(attn: Attention, attended: Tensor, normed: Tensor) -> Tensor:
    """Output side of the attention; its norm and gate are recent additions to timm.

    Args:
        attn: the attention.
        attended: (batch, heads, n, head dim).
        normed: (batch, n, dim) the query tokens, after the block's first LayerNorm.

    Returns:
        (batch, n, dim)
    """
    out = attended.transpose(1, 2).flatten(2)
    norm: nn.Module | None = getattr(attn, "norm", None)
    gate = output_gate(attn)
    out = out if norm is None else norm(out)
    return attn.proj_drop(attn.proj(out if gate is None else out * gate(normed).sigmoid()))


def output_gate(attn: Attention) -> nn.Module | None:
    """The gate on the attention output; None in all but the newest ViTs."""
    return getattr(attn, "gate", None)
