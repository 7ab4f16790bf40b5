"""A block of a timm ViT with prompts in its attention."""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from timm.layers import Attention, GluMlp, Mlp, SwiGLU
from timm.models.vision_transformer import Block
from torch import Tensor, nn

KeyValue = tuple[Tensor, Tensor]
#: Thirds of a projection: queries, keys and values.
QKV = slice(0, 3)

# On the CPU, torch's fused attention is slow in bf16, above all its backward pass. Milliseconds of
# one thread with avx512_bf16 and heads of width 64: fused / fused in fp32 / two matrix products:
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
#: Maximum number of keys for bf16 attention by matrix products on the CPU, to bound memory.
MULTIPLIED_KEYS = 320
#: MLPs whose last layer is linear, see :func:`mean_mlp`.
LINEAR_AT_LAST = (Mlp, GluMlp, SwiGLU)


def scaled(block: Block, branch: int, output: Tensor) -> Tensor:
    """LayerScale of the attention (1) or the MLP (2): a module of ``Block``, a parameter or None of
    ``EvaBlock``."""
    if hasattr(block, "ls1"):
        return block.ls1(output) if branch == 1 else block.ls2(output)
    gamma = block.gamma_1 if branch == 1 else block.gamma_2
    return output if gamma is None else gamma * output


def project(attn: Attention, normed: Tensor, parts: slice = QKV) -> Tensor:
    """Project tokens behind the first norm to queries, keys and values.

    Args:
        attn: the attention; EVA-02's has three layers.
        normed: (batch, n, dim) tokens after the block's first LayerNorm.
        parts: thirds from start to stop; ``slice(1, 3)`` is keys and values.

    Returns:
        (batch, n, thirds * dim)
    """
    batch, n, _ = normed.shape
    # As one matrix: torch would multiply slices image by image, in bf16 a hundred times slower.
    flat = normed.flatten(0, 1)
    if attn.qkv is None:
        layers = (attn.q_proj, attn.k_proj, attn.v_proj)[parts]
        return torch.cat([layer(flat) for layer in layers], dim=-1).view(batch, n, -1)
    weight, bias = attn.qkv.weight, attn.qkv.bias
    if getattr(attn, "q_bias", None) is not None:  # Eva's three parts; that of keys is zero
        bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
    # The width of all heads may differ from that of a token.
    third = attn.proj.in_features
    rows = slice(parts.start * third, parts.stop * third)
    projected = F.linear(flat, weight[rows], None if bias is None else bias[rows])
    # Sizes one by one, so that an exported graph keeps the batch size dynamic.
    return projected.view(batch, n, -1)


def by_head(attn: Attention, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
    """Split (batch, n, parts * heads * head dim) into tensors (batch, heads, n, head dim)."""
    # One kernel joins the gradients of chunks.
    split = projected.chunk(parts, dim=-1) if parts > 1 else (projected,)
    batch, n, _ = projected.shape
    return tuple(part.reshape(batch, n, attn.num_heads, -1).transpose(1, 2) for part in split)


def multiplies_out(tokens: Tensor, n_keys: int) -> bool:
    """Return whether attention uses matrix products: bf16 (also by autocast) on the CPU, up to
    :data:`MULTIPLIED_KEYS` keys."""
    if tokens.device.type != "cpu" or n_keys > MULTIPLIED_KEYS:
        return False
    casts = torch.is_autocast_enabled("cpu")
    return (torch.get_autocast_dtype("cpu") if casts else tokens.dtype) == torch.bfloat16


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Compute scaled dot-product attention; each argument is (batch, heads, n, head dim).

    Short sequences in bf16 on the CPU use matrix products, see :func:`multiplies_out`; the others
    use torch's fused attention.
    """
    if not multiplies_out(query, keys.shape[2]):
        return F.scaled_dot_product_attention(query, keys, values)
    # Scores are rounded to bf16 here. Subtracting one vector from all keys shifts all scores of a
    # query alike, which changes neither softmax nor gradient. Keys are similar, so subtracting the
    # first makes scores and rounding errors small: features of a DINOv2 ViT-S differ from fp32 by
    # 0.032 rms, as with the fused kernel, instead of 0.048.
    scale = query.shape[-1] ** -0.5
    common = keys[:, :, :1].detach() * -scale
    scores = query @ torch.add(common, keys, alpha=scale).transpose(-2, -1)
    return scores.softmax(dim=-1).to(values.dtype) @ values


def token_scores(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Weigh tokens by their share in the class token's attention: (batch, n), in fp32.

    The mean over heads of the class token's attention to a token, times the norm of its value over
    all heads; each argument is (batch, heads, n, head dim).
    """
    asking = query[:, :, :1].float() * query.shape[-1] ** -0.5
    attention = (asking @ keys.float().transpose(-2, -1)).softmax(dim=-1)
    return attention.mean(dim=1)[:, 0] * values.float().square().sum(dim=(1, 3)).sqrt()


def attention_output(attn: Attention, attended: Tensor, normed: Tensor) -> Tensor:
    """Apply the output side of the attention, including timm's newer norm and gate.

    Args:
        attended: (batch, heads, n, head dim).
        normed: (batch, n, dim) query tokens after the block's first LayerNorm.

    Returns:
        (batch, n, dim)
    """
    out = attended.transpose(1, 2).flatten(2)
    norm: nn.Module | None = getattr(attn, "norm", None)
    gate: nn.Module | None = getattr(attn, "gate", None)
    out = out if norm is None else norm(out)
    return attn.proj_drop(attn.proj(out if gate is None else out * gate(normed).sigmoid()))


def mean_mlp(mlp: Mlp | GluMlp | SwiGLU, normed: Tensor) -> Tensor:
    """Mean output (batch, 1, dim) of an MLP over tokens (batch, n, dim).

    The last layer is linear, so it only computes the mean of the hidden units.
    """
    if isinstance(mlp, SwiGLU):
        hidden = mlp.act(mlp.fc1_g(normed)) * mlp.fc1_x(normed)
    elif isinstance(mlp, GluMlp):
        one, two = mlp.fc1(normed).chunk(2, dim=-1)
        hidden = one * mlp.act(two) if mlp.gate_last else mlp.act(one) * two
    else:
        hidden = mlp.act(mlp.fc1(normed))
    mean = mlp.norm(mlp.drop1(hidden)).mean(dim=1, keepdim=True)
    return mlp.drop2(mlp.fc2(mean))


class BlockAdapter(Protocol):
    """A module parallel to a block's MLP.

    Example:
        >>> from cl_prompts.prompts import Adapter
        >>> adapter: BlockAdapter = Adapter(16, bottleneck=4)
        >>> adapter.macs_per_token
        128
    """

    macs_per_token: int
    """Multiply-accumulates for one token."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Map tokens after the attention (batch, n, dim) to an addend of the block's output, in
        the same type."""
        ...


class RoutedPrefix(Protocol):
    """A prefix whose rows are selected by the block's own queries.

    If it uses the parameters of a module, this is its attribute ``pool``.

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
    """Number of selected rows."""

    def __call__(self, queries: Tensor) -> KeyValue:
        """Map all queries (batch, heads, n, head dim) to scaled scores (batch, heads, rows), equal
        for all queries, and values (batch, heads, rows, head dim) of the selected rows."""
        ...


def join(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Concatenate along a dimension; a leading axis of 1 is expanded to the batch."""
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
    rotation: Callable[[Tensor], Tensor] | None = None,
    mean_of: slice | None = None,
    scores: list[Tensor] | None = None,
) -> Tensor:
    """Run one pre-norm block on ``tokens``, which also attend to prompts.

    Args:
        block: a timm ``Block`` or ``EvaBlock``, see
            :class:`~cl_prompts.backbones.architecture.Architecture`.
        tokens: (batch, n, dim).
        context: (batch or 1, p, dim) tokens that only act as keys and values (see
            :mod:`cl_prompts.backbones.injection`).
        prefix: keys and values (batch or 1, heads, p, head dim) that skip the qkv projection,
            ``k_norm`` and rotation: no position belongs to them.
        adapter: module parallel to the MLP; see
            :class:`~cl_prompts.backbones.injection.PromptPlan`, also for the next four.
        gate: function of the scores of the prefix.
        routed: a prefix that depends on the queries.
        additive: added to the class token's key and value after the projection and ``k_norm``.
        beside: maps the normed tokens and the attention's output, before layer scale, to a new
            output.
        first: number of leading tokens to compute and return; all tokens act as keys and values.
            The last block needs ``1`` if only the class token is read.
        projected: cached :func:`~cl_prompts.backbones.attention.project` of the same tokens.
        rotation: rotary positions of queries and keys, see
            :class:`~cl_prompts.backbones.architecture.Rotation`.
        mean_of: return only the mean of these tokens, see :func:`mean_mlp`; without an adapter.
        scores: list that gets the :func:`token_scores`.

    Returns:
        (batch, n or ``first``, dim), or (batch, 1, dim) with ``mean_of``
    """
    attn = block.attn
    # With a cached projection, only an output gate or rows beside it need normed tokens.
    normed = tokens
    if projected is None or beside is not None or getattr(attn, "gate", None) is not None:
        normed = block.norm1(tokens)
    asking = tokens if first is None else tokens[:, :first]
    more = None
    if context is not None:  # keys and values of the prompts, without queries
        more = project(attn, block.norm1(context), slice(1, 3))
    # A routed prefix reads the queries of all tokens.
    query, keys, values = _query_key_value(
        attn, normed, projected, first if routed is None else None, more
    )
    query, keys = attn.q_norm(query), attn.k_norm(keys)
    if rotation is not None:
        query, keys = rotation(query), rotation(keys)
    if scores is not None:
        scores.append(token_scores(query, keys, values))
    if additive is not None:
        keys, values = _add_to_class_token(keys, values, additive)
    scored: list[KeyValue] = []
    if routed is not None:
        alike, routed_values = routed(query)
        query = query[:, :, : asking.shape[1]]
        scored.append((alike[:, :, None].expand(-1, -1, query.shape[2], -1), routed_values))
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
    asking = asking + block.drop_path1(scaled(block, 1, attended))
    if mean_of is not None:
        asking = asking[:, mean_of]
        mean = asking.float().mean(dim=1, keepdim=True)
        return mean + scaled(block, 2, mean_mlp(block.mlp, block.norm2(asking)))
    out = asking + block.drop_path2(scaled(block, 2, block.mlp(block.norm2(asking))))
    return out if adapter is None else out + adapter(asking)


def _query_key_value(
    attn: Attention,
    normed: Tensor,
    projected: Tensor | None,
    first: int | None,
    more: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries (of the first ``first`` tokens), keys and values by head.

    ``more`` (batch or 1, p, 2 dim) are further keys and values.
    """
    if first is not None and projected is None:
        # Queries of the tokens to read; keys and values of all tokens.
        queries = project(attn, normed[:, :first], slice(0, 1))
        pairs = project(attn, normed, slice(1, 3))
    else:
        projected = project(attn, normed) if projected is None else projected
        if first is None and more is None:
            query, keys, values = by_head(attn, projected, 3)
            return query, keys, values
        width = projected.shape[-1] // 3
        queries, pairs = projected.split([width, 2 * width], dim=-1)
        queries = queries if first is None else queries[:, :first]
    # One concatenation adds prompts to both keys and values.
    pairs = pairs if more is None else join(pairs, more, 1)
    (query,) = by_head(attn, queries, 1)
    keys, values = by_head(attn, pairs, 2)
    return query, keys, values


def _attend_scored(query: Tensor, keys: Tensor, values: Tensor, scored: list[KeyValue]) -> Tensor:
    """Attend to keys and values, and to rows with given scores.

    ``scored`` has scores (batch, heads, queries, n) and values (batch or 1, heads, n, head dim).
    """
    scores = query @ keys.transpose(-2, -1) * query.shape[-1] ** -0.5
    weights = torch.cat([scores, *(more for more, _ in scored)], dim=-1).softmax(dim=-1)
    for _, more in scored:
        values = join(values, more.to(values.dtype), 2)
    return weights.to(values.dtype) @ values


def _add_to_class_token(keys: Tensor, values: Tensor, additive: KeyValue) -> KeyValue:
    """Add vectors to the first token's key and value, of (batch, heads, n, head dim)."""
    return (
        torch.cat([keys[:, :, :1] + additive[0][:, :, None], keys[:, :, 1:]], dim=2),
        torch.cat([values[:, :, :1] + additive[1][:, :, None], values[:, :, 1:]], dim=2),
    )
