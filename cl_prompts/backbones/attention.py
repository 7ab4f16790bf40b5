"""One block of a timm ViT with prompts injected: the input and output sides of its attention, and
what lies between and beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

KeyValue = tuple[Tensor, Tensor]

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
    # One matrix: torch multiplies a part of each sequence image by image, in bf16 a hundred times
    # slower.
    found = F.linear(normed.flatten(0, 1), weight[rows], None if bias is None else bias[rows])
    # Sizes one by one: an exported graph keeps the batch open in these alone.
    batch, n, _ = normed.shape
    return found.view(batch, n, -1)


def by_head(attn: Attention, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
    """(batch, n, parts * heads * head dim) -> ``parts`` tensors (batch, heads, n, head dim)."""
    # Pieces of the last axis, whose gradients one kernel puts together.
    split = projected.chunk(parts, dim=-1) if parts > 1 else (projected,)
    batch, n, _ = projected.shape
    return tuple(part.reshape(batch, n, attn.num_heads, -1).transpose(1, 2) for part in split)


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
        attended: (batch, heads, n, head dim).
        normed: (batch, n, dim) the query tokens, after the block's first LayerNorm.

    Returns:
        (batch, n, dim)
    """
    out = attended.transpose(1, 2).flatten(2)
    norm: nn.Module | None = getattr(attn, "norm", None)
    gate: nn.Module | None = getattr(attn, "gate", None)
    out = out if norm is None else norm(out)
    return attn.proj_drop(attn.proj(out if gate is None else out * gate(normed).sigmoid()))


class BlockAdapter(Protocol):
    """A module parallel to a block's MLP.

    Example:
        >>> from cl_prompts.prompts.task_adapters import Adapter
        >>> adapter: BlockAdapter = Adapter(16, bottleneck=4)
        >>> adapter.macs_per_token
        128
    """

    macs_per_token: int
    """Multiply-accumulates for one token."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens after the attention (batch, n, dim) -> what is added to the block's output, in
        the tokens' type."""
        ...


class RoutedPrefix(Protocol):
    """A prefix whose rows a block chooses by its own queries.

    Where it uses the parameters of a module, ``pool`` names that.

    Example:
        >>> class First:
        ...     rows = 1
        ...     def __call__(self, queries):
        ...         return queries.mean(dim=(2, 3))[..., None], queries[:, :, :1]
        >>> prefix: RoutedPrefix = First()
        >>> prefix(torch.zeros(2, 4, 17, 8))[0].shape
        torch.Size([2, 4, 1])
    """

    rows: int
    """Rows that are chosen."""

    def __call__(self, queries: Tensor) -> KeyValue:
        """Queries of the whole sequence (batch, heads, n, head dim) -> scores of the chosen rows,
        (batch, heads, rows), the same for every query and already scaled, and their
        values (batch, heads, rows, head dim)."""
        ...


def join(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Concatenate along a dimension; a leading axis of 1 stands for the whole batch."""
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
    adapter: BlockAdapter | None = None,
    gate: Callable[[Tensor], Tensor] | None = None,
    routed: RoutedPrefix | None = None,
    additive: KeyValue | None = None,
    beside: Callable[[Tensor, Tensor], Tensor] | None = None,
    first: int | None = None,
    projected: Tensor | None = None,
) -> Tensor:
    """One pre-norm block over ``tokens``, attending to prompts as well.

    Args:
        block: a timm ``Block`` whose attention is a plain ``Attention``.
        tokens: (batch, n, dim).
        context: (batch or 1, p, dim) tokens that act as keys and values only (see
            :mod:`cl_prompts.backbones.injection`).
        prefix: keys and values (batch or 1, heads, p, head dim) that skip the qkv projection and
            ``k_norm``.
        adapter: see :class:`~cl_prompts.backbones.injection.PromptPlan`, and so are ``gate``,
            ``routed`` and ``additive``.
        gate: applied to the scores of the prefix.
        routed: a prefix that depends on the queries.
        additive: added to the class token's key and value after the projection and ``k_norm``.
        beside: from the normed tokens and the attention's output, before layer scale, to the
            output that is used instead.
        first: number of leading tokens to compute and return; all tokens still act as keys and
            values. ``1`` is what the last block needs when only the class token is read.
        projected: :func:`~cl_prompts.backbones.attention.project` of the same tokens, if known.

    Returns:
        (batch, n or ``first``, dim)
    """
    attn = block.attn
    # A known projection needs no normed tokens, but for a gate on the output or rows beside it.
    normed = tokens
    if projected is None or beside is not None or getattr(attn, "gate", None) is not None:
        normed = block.norm1(tokens)
    asking = tokens if first is None else tokens[:, :first]
    more = None
    if context is not None:  # keys and values of the prompts, but no query
        more = project_parts(attn, block.norm1(context), slice(1, 3))
    # A routed prefix reads the queries of all tokens.
    query, keys, values = _query_key_value(
        attn, normed, projected, first if routed is None else None, more
    )
    query, keys = attn.q_norm(query), attn.k_norm(keys)
    if additive is not None:
        keys, values = _add_to_class_token(keys, values, additive)
    scored: list[KeyValue] = []
    if routed is not None:
        scores, routed_values = routed(query)
        query = query[:, :, : asking.shape[1]]
        scored.append((scores[:, :, None].expand(-1, -1, query.shape[2], -1), routed_values))
    if prefix is not None and gate is not None:
        raw = query @ prefix[0].transpose(-2, -1) * query.shape[-1] ** -0.5
        scored.append((gate(raw), prefix[1]))
    elif prefix is not None:
        keys, values = join(keys, prefix[0], 2), join(values, prefix[1], 2)
    # softmax(Q K' / sqrt(head dim)) V, over tokens and prompts alike
    if scored:
        attended = _attend_scored(query, keys, values, scored)
    else:
        attended = attend(query, keys, values)
    normed = normed[:, : asking.shape[1]]
    attended = attention_output(attn, attended, normed)
    if beside is not None:
        attended = beside(normed, attended)
    # x' = x + attention(LN(x)), x'' = x' + MLP(LN(x')) + adapter(x')
    asking = asking + block.drop_path1(block.ls1(attended))
    out = asking + block.drop_path2(block.ls2(block.mlp(block.norm2(asking))))
    return out if adapter is None else out + adapter(asking)


def _query_key_value(
    attn: Attention,
    normed: Tensor,
    projected: Tensor | None,
    first: int | None,
    more: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (of the first ``first`` tokens), keys and values, by head; ``more`` (batch or 1, p,
    2 dim) are further keys and values."""
    if first is not None and projected is None:
        # Queries of the tokens that are read alone; keys and values of all.
        queries = project_parts(attn, normed[:, :first], slice(0, 1))
        pairs = project_parts(attn, normed, slice(1, 3))
    else:
        projected = attn.qkv(normed) if projected is None else projected
        if first is None and more is None:
            query, keys, values = by_head(attn, projected, 3)
            return query, keys, values
        width = projected.shape[-1] // 3
        queries, pairs = projected.split([width, 2 * width], dim=-1)
        queries = queries if first is None else queries[:, :first]
    # Keys and values side by side, so that prompts join both at once.
    pairs = pairs if more is None else join(pairs, more, 1)
    (query,) = by_head(attn, queries, 1)
    keys, values = by_head(attn, pairs, 2)
    return query, keys, values


def _attend_scored(query: Tensor, keys: Tensor, values: Tensor, scored: list[KeyValue]) -> Tensor:
    """Attention over keys and values and over rows whose scores are known: ``scored`` holds scores
    (batch, heads, queries, n) and values (batch or 1, heads, n, head dim)."""
    scores = query @ keys.transpose(-2, -1) * query.shape[-1] ** -0.5
    weights = torch.cat([scores, *(more for more, _ in scored)], dim=-1).softmax(dim=-1)
    for _, more in scored:
        values = join(values, more.to(values.dtype), 2)
    return weights.to(values.dtype) @ values


def _add_to_class_token(keys: Tensor, values: Tensor, additive: KeyValue) -> KeyValue:
    """Keys and values (batch, heads, n, head dim), with vectors added to those of the first
    token."""
    return (
        torch.cat([keys[:, :, :1] + additive[0][:, :, None], keys[:, :, 1:]], dim=2),
        torch.cat([values[:, :, :1] + additive[1][:, :, None], values[:, :, 1:]], dim=2),
    )
