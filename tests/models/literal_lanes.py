"""MULTI-LANE's formulas as written: summary tokens are tokens of every image."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor

from cl_prompts.backbones.attention import attend, attention_output, by_head, project, scaled
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models import multi_lane_ops as lanes
from cl_prompts.models.multi_lane import Lane, MultiLaneViT


def start(backbone: FrozenViT, selectors: Tensor, batch: int) -> Tensor:
    """(batch, T, 1 + S, dim) class tokens and selectors before block 0."""
    token = lanes.lane_token(backbone).expand(len(selectors), 1, -1)
    return torch.cat([token, selectors.to(token.dtype)], dim=1).expand(batch, -1, -1, -1)


def attention_input(
    block: Block, tokens: Tensor, state: lanes.FrozenState
) -> tuple[Tensor, Tensor]:
    """Attention input and normalised tokens, (batch, T, 1 + S, dim) each."""
    normed = block.norm1(tokens)
    # A = softmax(n h^T / sqrt(D)), G = A h
    scores = (
        normed[:, :, 1:].flatten(1, 2) @ state.hidden.transpose(1, 2) * normed.shape[-1] ** -0.5
    )
    seen = scores.softmax(dim=-1, dtype=torch.float32).to(normed.dtype) @ state.hidden
    return torch.cat([normed[:, :, :1], seen.view_as(normed[:, :, 1:])], dim=2), normed


def block_output(
    block: Block, tokens: Tensor, entering: Tensor, normed: Tensor, prompts: Tensor | None
) -> Tensor:
    """One block over all tokens (batch, T, 1 + S, dim) of all lanes -> the same shape."""
    attn = block.attn
    batch, n_lanes = tokens.shape[:2]
    # q, k, v = qkv(X), prompts joined to keys and values
    flat = entering.flatten(0, 1)
    query, keys, values = by_head(attn, project(attn, flat), 3)
    query, keys = attn.q_norm(query), attn.k_norm(keys)
    if prompts is not None:
        more = prompts.to(query.dtype).expand(batch, *prompts.shape).flatten(0, 1)
        keys, values = torch.cat([more[:, 0], keys], dim=2), torch.cat([more[:, 1], values], dim=2)
    out = attention_output(attn, attend(query, keys, values), flat)
    out = out.view(batch, n_lanes, *out.shape[1:])
    # drop O[:, 1:], add n instead
    out = torch.cat([out[:, :, :1], normed[:, :, 1:]], dim=2)
    tokens = tokens + scaled(block, 1, out)
    return tokens + scaled(block, 2, block.mlp(block.norm2(tokens)))


def raw_tables(model: MultiLaneViT, some: Sequence[Lane]) -> tuple[Tensor, dict[int, Tensor]]:
    """Selectors (T, S, dim), and block -> prompts (T, 2, heads, P, head dim)."""
    dtype = model.backbone.vit.cls_token.dtype
    selectors = torch.stack([lane.selectors for lane in some]).to(dtype)
    of_lanes = [lane.prompts for lane in some if lane.prompts is not None]
    if not of_lanes:
        return selectors, {}
    prompts = torch.stack(of_lanes, dim=1).to(dtype)
    return selectors, dict(zip(model.prompted_blocks, prompts, strict=True))


class LiteralLanes(MultiLaneViT):
    def lane_tokens(self, images: Tensor, some: Sequence[Lane]) -> Tensor:
        selectors, prompts = raw_tables(self, some)
        tokens = start(self.backbone, selectors, len(images))
        stream = lanes.frozen_states(self.backbone, images)
        for i, block in enumerate(self.backbone.vit.blocks):
            entering, normed = attention_input(block, tokens, next(stream))
            tokens = block_output(block, tokens, entering, normed, prompts.get(i))
        return tokens[:, :, 0]


def multi_lane(backbone: FrozenViT, n_classes: int, impl: str, **options: Any) -> MultiLaneViT:
    """A model in the package's form, ``"fused"``, or by the formulas, ``"literal"``."""
    kind = {"fused": MultiLaneViT, "literal": LiteralLanes}[impl]
    return kind(backbone, n_classes, **options)


@torch.no_grad()
def open_random(model: MultiLaneViT, classes: Sequence[int]) -> None:
    """Open a lane whose selectors and prompts are U(-1, 1)."""
    model.open_lane(classes)
    lane = model.lanes[-1]
    for values in (lane.selectors, lane.prompts):
        if values is not None:
            values.uniform_(-1, 1)
