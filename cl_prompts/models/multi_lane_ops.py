"""Tensor algebra of MULTI-LANE: lanes parallel to a frozen ViT.

Source: De Min et al., "Less is more: Summarizing Patch Tokens for efficient Multi-Label
Class-Incremental Learning", CoLLAs 2024, arXiv 2405.15633. A lane has its own class token and a few
selectors, which pass the frozen blocks in parallel to the image's tokens. In every block:

* each selector summarises the image in a *summary token*, a softmax-weighted mean of the normalised
  tokens;
* the lane's class token attends to itself, to the summary tokens and to the lane's prompts;
* the attention output of the summary tokens is replaced by the normalised selectors ("drop and
  replace").

Lanes read the frozen tokens, never write to them, and do not attend to each other.

The code computes the same numbers faster. Selectors never depend on the image, so they are computed
once for the whole batch, as further rows behind the class tokens (:func:`joined_block`). Keys and
values of summary tokens are the same weighted means of the frozen keys and values, because the
projection is affine and the weights sum to one. Only the class token is a query.

Blocks of timm beyond the paper's ViT: with LayerScale the replacement is *inside* the scaling, ``s
+ ls1(LN1(s))``. With key normalisation raw keys are summarised and then normalised. Attention norm
and gate act on the lane's class token as on any token.

Shapes: T lanes of S selectors, P prompts per block. Selectors (T, S, dim), called ``slots`` inside
the blocks; prompts of one block (T, 2, heads, P, head dim), keys before values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from cl_prompts.backbones.attention import (
    attend,
    attention_output,
    by_head,
    project,
    run_block,
    scaled,
)
from cl_prompts.backbones.vit import FrozenViT

#: attention weights, keys and values of lanes that live at once: 64 MB in fp32
SUMMARY_NUMBERS = 2**24


@dataclass(frozen=True)
class FrozenState:
    """Frozen inputs of the lanes in one block, without gradient.

    Attributes:
        hidden: (batch, n, dim) tokens after the block's first LayerNorm.
        pairs: (batch, n, 2 heads head dim) keys, before any key normalisation, and values.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> state = next(frozen_states(create_backbone(), torch.rand(2, 3, 32, 32)))
        >>> state.hidden.shape[-1], state.pairs.shape[-1]
        (128, 256)
    """

    hidden: Tensor
    pairs: Tensor


@torch.no_grad()
def frozen_states(backbone: FrozenViT, images: Tensor) -> Iterator[FrozenState]:
    """Run the frozen ViT block by block and yield the inputs of the lanes, one state per block.

    The last block stops after its keys and values. The backbone's counter counts all of it.

    Args:
        images: (batch, 3, size, size) in [0, 1].
    """
    tokens = backbone.embed(images)
    known = backbone.architecture
    n_patches = tokens.shape[1] - known.prefix
    rotations = known.rotations(backbone.vit, n_patches, known.prefix)
    for i, block in enumerate(backbone.vit.blocks):
        last = i == backbone.depth - 1
        hidden = block.norm1(tokens)
        # The last block needs no queries.
        projected = project(block.attn, hidden, slice(1 if last else 0, 3))
        yield FrozenState(hidden, projected[..., -2 * block.attn.proj.in_features :])
        if last:
            backbone.counter.keys_and_values(*tokens.shape[:2])
        else:
            backbone.counter.block(*tokens.shape[:2])
            tokens = run_block(block, tokens, projected=projected, rotation=rotations[i])


def lane_token(backbone: FrozenViT) -> Tensor:
    """(1, 1, dim) initial class token: the ViT's, *without* position (as published)."""
    return backbone.vit.norm_pre(backbone.vit.cls_token)


def joined_start(backbone: FrozenViT, selectors: Tensor, batch: int) -> Tensor:
    """(batch + S, T, dim) rows before block 0: class tokens, and selectors (S, T, dim)."""
    token = lane_token(backbone).expand(batch, selectors.shape[1], -1)
    return torch.cat([token, selectors])


def lanes_block(
    block: Block, rows: Tensor, state: FrozenState, prompts: Tensor | None, *, evolve: bool
) -> Tensor:
    """Apply :func:`joined_block` to all lanes, in chunks of bounded memory (exact)."""
    batch = len(state.hidden)
    n_slots = len(rows) - batch
    n_keys = 1 + n_slots + (0 if prompts is None else len(prompts))
    # attention weights, keys and values of a lane
    of_lane = batch * (n_slots * state.hidden.shape[1] + n_keys * state.pairs.shape[-1])
    at_once = max(1, SUMMARY_NUMBERS // of_lane)
    own = repeat(None) if prompts is None else prompts.split(at_once, dim=1)
    parts = zip(rows.split(at_once, dim=1), own, strict=False)
    done = [joined_block(block, part, state, mine, evolve=evolve) for part, mine in parts]
    return done[0] if len(done) == 1 else torch.cat(done, dim=1)


def joined_block(
    block: Block, rows: Tensor, state: FrozenState, prompts: Tensor | None, *, evolve: bool
) -> Tensor:
    """One block for the class tokens of some lanes, and for their selectors.

    Args:
        block: the frozen block.
        rows: (batch + S, T, dim) class tokens of the lanes, and their selectors.
        state: the frozen inputs of this block.
        prompts: (P, T, 2 * heads * head dim), keys before values, or None.
        evolve: update the selectors; False returns (batch, T, dim) class tokens only.
    """
    attn = block.attn
    batch = len(state.hidden)
    n_slots = len(rows) - batch
    own, looking = block.norm1(rows).split([batch, n_slots])
    # q, k, v of LN1(c)
    width = attn.proj.in_features
    query, pair = project(attn, own).split([width, 2 * width], dim=-1)
    # alpha scales inside the product; with beta = 0 the first argument is not read.
    scores = torch.addmm(
        rows.new_empty(()),
        state.hidden.flatten(0, 1),
        looking.flatten(0, 1).T,
        beta=0,
        alpha=rows.shape[-1] ** -0.5,
    ).unflatten(0, state.hidden.shape[:2])
    look = scores.softmax(dim=1, dtype=torch.float32).to(rows.dtype)
    seen = torch.bmm(look.transpose(1, 2), state.pairs)
    # keys and values of the class token itself, S summary tokens and P prompts
    kinds = [pair.flatten(1)[:, None], seen.unflatten(1, (n_slots, -1)).flatten(2)]
    if prompts is not None:
        kinds.append(prompts.flatten(1).expand(batch, -1, -1))
    pairs = torch.cat(kinds, dim=1).unflatten(-1, (rows.shape[1], -1)).transpose(1, 2)
    keys, values = by_head(attn, pairs.flatten(0, 1), 2)
    if not isinstance(attn.k_norm, nn.Identity):  # which prompts do not pass
        normed = attn.k_norm(keys[:, :, : 1 + n_slots])
        keys = torch.cat([normed, keys[:, :, 1 + n_slots :]], dim=2)
    (query,) = by_head(attn, query.flatten(0, 1)[:, None], 1)
    heads = attend(attn.q_norm(query), keys, values)
    out = attention_output(attn, heads, own.flatten(0, 1)[:, None]).view_as(own)
    # c' = c + proj(O), c' + MLP(LN2(c')); the selectors' O is n
    if not evolve:
        return _mlp(block, rows.split([batch, n_slots])[0] + scaled(block, 1, out))
    return _mlp(block, rows + scaled(block, 1, torch.cat([out, looking])))


def _mlp(block: Block, tokens: Tensor) -> Tensor:
    return tokens + scaled(block, 2, block.mlp(block.norm2(tokens)))
