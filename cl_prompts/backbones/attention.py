"""The input and output sides of a timm ``Attention``, between which prompts can be injected."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

# Torch's fused attention is slow in bf16 on the CPU, above all its backward pass. CPU milliseconds
# in one thread with avx512_bf16 and heads of width 64: fused / fused in fp32 / two products:
#
#   tokens + keys, images x heads   forward and backward   forward without gradient
#    17 +  0       64 x  6          17.8 /  9   /  5.0      1.7 /  1.9 /  1.3
#    17 + 20       64 x  6          21   / 16   /  6        2.9 /  3.2 /  2.1
#    26 + 20       64 x  6          23.7 / 26   /  8.0      4.7 /  7.8 /  3.9
#    50 + 20       64 x  6          50   / 45   / 20        9.3 / 10   /  5.3
#    66 + 20       64 x  6          69   / 51   / 20       13.6 / 20   /  9.0
#   197 + 20        8 x 12          55   / 56   / 23       16.6 / 17   /  9.5
#   257 + 20        8 x  6          43   /  -   / 17       13.5 /  -   /  6.9
#
#: Keys up to which bf16 attention on the CPU is multiplied out; scores of more take much memory.
MULTIPLIED_KEYS = 320


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
    if normed.dtype == torch.bfloat16:
        # Torch multiplies a part of each sequence image by image, in bf16 a hundred times slower.
        normed = normed.contiguous()
    return F.linear(normed, weight[rows], None if bias is None else bias[rows])


def by_head(attn: Attention, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
    """(batch, n, parts * heads * head dim) -> ``parts`` tensors (batch, heads, n, head dim)."""
    batch, n, _ = projected.shape
    return projected.reshape(batch, n, parts, attn.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def multiplies_out(tokens: Tensor, n_keys: int) -> bool:
    """Whether attention of these tokens to so many keys is computed by two matrix products: in bf16
    on the CPU, stored or by autocast, up to :data:`MULTIPLIED_KEYS` keys."""
    if tokens.device.type != "cpu" or n_keys > MULTIPLIED_KEYS:
        return False
    casts = torch.is_autocast_enabled("cpu")
    return (torch.get_autocast_dtype("cpu") if casts else tokens.dtype) == torch.bfloat16


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention, each argument (batch, heads, n, head dim).

    In bf16 on the CPU short sequences are multiplied out, see :func:`multiplies_out`; everything
    else is torch's fused attention.
    """
    if not multiplies_out(query, keys.shape[2]):
        return F.scaled_dot_product_attention(query, keys, values)
    # Scores are rounded to bf16 here. A vector that is taken from all keys moves all scores of a
    # query alike, so that it changes neither softmax nor gradient. Keys have much in common, so
    # without the first of them scores are small and their rounding with them: features of a
    # DINOv2 ViT-S differ from fp32 by 0.032 rms, as by the fused kernel, and else by 0.048.
    scale = query.shape[-1] ** -0.5
    common = keys[:, :, :1].detach() * -scale
    scores = query @ torch.add(common, keys, alpha=scale).transpose(-2, -1)
    return scores.softmax(dim=-1).to(values.dtype) @ values


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
