"""How prompts enter frozen transformer blocks.

Three injections, all exact and all outside the frozen weights:

* **prepended tokens** (L2P): prompts join the token sequence before block 0 and travel through
  every block;
* **context tokens** (MVP): prompts join one block's input and are removed behind it. Because their
  outputs are dropped, they need keys and values only: no query, no output projection, no MLP;
* **prefixes** (DualPrompt, CODA-Prompt): prompts *are* keys and values of one block, behind its qkv
  projection.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor

from cl_prompts.backbones.attention import (
    attention_output,
    by_head,
    output_gate,
    project_parts,
)

KeyValue = tuple[Tensor, Tensor]


@dataclass
class PromptPlan:
    """The prompts of one forward pass, by block. A leading axis of 1 means "the same for the whole
    batch".

    Attributes:
        prepended: (batch or 1, n, dim) tokens appended to the sequence before block 0, without
            positional embedding.
        context: block -> (batch or 1, n, dim) tokens that this block alone attends to.
        prefix: block -> keys and values, each (batch or 1, heads, n, head dim).
    """

    prepended: Tensor | None = None
    context: dict[int, Tensor] = field(default_factory=dict)
    prefix: dict[int, KeyValue] = field(default_factory=dict)

    def add(self, other: PromptPlan) -> None:
        """Append ``other``'s prompts behind this plan's, block by block."""
        if other.prepended is not None:
            self.prepended = (
                other.prepended
                if self.prepended is None
                else _join(self.prepended, other.prepended, 1)
            )
        for block, tokens in other.context.items():
            self.context[block] = (
                _join(self.context[block], tokens, 1) if block in self.context else tokens
            )
        for block, (keys, values) in other.prefix.items():
            if block in self.prefix:
                mine = self.prefix[block]
                keys, values = _join(mine[0], keys, 2), _join(mine[1], values, 2)
            self.prefix[block] = (keys, values)

    def to(self, dtype: torch.dtype) -> PromptPlan:
        """The same prompts in another precision."""
        return PromptPlan(
            None if self.prepended is None else self.prepended.to(dtype),
            {block: tokens.to(dtype) for block, tokens in self.context.items()},
            {block: (k.to(dtype), v.to(dtype)) for block, (k, v) in self.prefix.items()},
        )

    def extra_keys(self, block: int) -> tuple[int, int]:
        """Context tokens and prefix rows that the block attends to besides the sequence."""
        context = self.context[block].shape[1] if block in self.context else 0
        prefix = self.prefix[block][0].shape[2] if block in self.prefix else 0
        return context, prefix


def _join(first: Tensor, second: Tensor, dim: int) -> Tensor:
    batch = max(first.shape[0], second.shape[0])
    return torch.cat(
        [first.expand(batch, *first.shape[1:]), second.expand(batch, *second.shape[1:])], dim=dim
    )


def run_block(
    block: Block,
    tokens: Tensor,
    *,
    context: Tensor | None = None,
    prefix: KeyValue | None = None,
    first: int | None = None,
    projected: Tensor | None = None,
) -> Tensor:
    """One pre-norm block over ``tokens``, attending to prompts as well.

    Args:
        block: a timm ``Block`` whose attention is a plain ``Attention``.
        tokens: (batch, n, dim).
        context: (batch or 1, p, dim) tokens that act as keys and values only (see the module's
            docstring).
        prefix: keys and values (batch or 1, heads, p, head dim) that skip the qkv projection and
            ``k_norm``.
        first: compute and return only the first so many tokens; all tokens still act as keys and
            values. ``1`` is what the last block needs when only the class token is read.
        projected: :func:`~cl_prompts.backbones.attention.project` of the same tokens, if known.

    Returns:
        (batch, n or ``first``, dim)
    """
    if context is None and prefix is None and first is None and projected is None:
        return block(tokens)
    attn = block.attn
    normed = block.norm1(tokens) if projected is None or output_gate(attn) is not None else tokens
    asking = tokens if first is None else tokens[:, :first]
    if projected is not None:
        query, keys, values = by_head(attn, projected, 3)
        query = query if first is None else query[:, :, :first]
    elif first is None:
        query, keys, values = by_head(attn, attn.qkv(normed), 3)
    else:
        (query,) = by_head(attn, project_parts(attn, normed[:, :first], slice(0, 1)), 1)
        keys, values = by_head(attn, project_parts(attn, normed, slice(1, 3)), 2)
    query, keys = attn.q_norm(query), attn.k_norm(keys)
    if context is not None:
        more_keys, more_values = by_head(
            attn, project_parts(attn, block.norm1(context), slice(1, 3)), 2
        )
        keys, values = _join(keys, attn.k_norm(more_keys), 2), _join(values, more_values, 2)
    if prefix is not None:
        keys, values = _join(keys, prefix[0], 2), _join(values, prefix[1], 2)
    attended = attention_output(
        attn, F.scaled_dot_product_attention(query, keys, values), normed[:, : asking.shape[1]]
    )
    asking = asking + block.drop_path1(block.ls1(attended))
    return asking + block.drop_path2(block.ls2(block.mlp(block.norm2(asking))))
