"""The algebra of lanes: fused against literal, what the summary is, and what all of it costs."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models import multi_lane_ops as lanes
from cl_prompts.models.multi_lane import MultiLaneViT
from tests.models.literal_lanes import multi_lane, open_random
from tests.toy_vits import tiny_vit

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def twins(backbone: FrozenViT, n_lanes: int, **options: Any) -> tuple[MultiLaneViT, MultiLaneViT]:
    """The same model in the fused and in the literal form, with random values in every lane."""
    torch.manual_seed(1)
    pair = [multi_lane(backbone, 2 * n_lanes, name, **options) for name in ("fused", "literal")]
    for i in range(n_lanes):
        for model in pair:
            open_random(model, [2 * i, 2 * i + 1])
    pair[1].load_learned_state(pair[0].learned_state())
    return pair[0].eval(), pair[1].eval()


def gradients(model: MultiLaneViT) -> dict[str, Tensor]:
    weight = torch.linspace(-1, 1, model.backbone.dim)
    model.zero_grad()
    (model.lane_features(IMAGES) * weight).sum().backward()
    return {k: p.grad for k, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("n_lanes", "n_selectors", "n_prompts", "changes"),
    [
        (1, 1, 0, {"qkv_bias": False}),
        (1, 20, 20, {}),
        (3, 20, 0, {"scale_attn_norm": True}),
        (3, 2, 1, {"init_values": 0.3}),
        (3, 3, 2, {"qk_norm": True}),
        (3, 1, 20, {"no_embed_class": True, "reg_tokens": 2}),
        (8, 2, 20, {"pre_norm": True}),
    ],
)
def test_fused_equals_literal(
    n_lanes: int, n_selectors: int, n_prompts: int, changes: dict[str, Any]
) -> None:
    options = {"n_selectors": n_selectors, "prompt_length": n_prompts, "prompted_blocks": (0, 2)}
    fused, literal = twins(tiny_vit(**changes), n_lanes, **options)
    for model in (fused, literal):
        for lane in model.lanes:
            lane.requires_grad_(True)  # all lanes at once, which training never does
    torch.testing.assert_close(
        fused.run(IMAGES).logits, literal.run(IMAGES).logits, atol=1e-5, rtol=0
    )
    mine = gradients(fused)
    theirs = gradients(literal)
    assert mine.keys() == theirs.keys()
    assert len(mine) == n_lanes * (2 if n_prompts else 1)  # without prompts: selectors alone
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-5, rtol=1e-4)


def test_bf16_is_near_fp32() -> None:
    options = {"n_selectors": 3, "prompt_length": 2, "prompted_blocks": (0, 1)}
    exact = twins(tiny_vit(), 2, **options)[0].lane_features(IMAGES)
    rough = FrozenViT(tiny_vit().vit, precision="bf16")
    for model in twins(rough, 2, **options):
        features = model.lane_features(IMAGES)
        assert features.dtype == torch.float32
        assert (features * exact).sum(-1).min() > 0.99  # cosine
        assert all(
            g.isfinite().all() and g.dtype == torch.float32 for g in gradients(model).values()
        )


def test_frozen_stream_is_timms() -> None:
    for changes in ({}, {"init_values": 0.3}, {"qk_norm": True}, {"reg_tokens": 3}):
        backbone = tiny_vit(**changes)
        tokens = backbone.embed(IMAGES)
        states = lanes.frozen_states(backbone, IMAGES)
        for block, state in zip(backbone.vit.blocks, states, strict=True):
            assert not any(t.requires_grad for t in vars(state).values())
            hidden = block.norm1(tokens)
            torch.testing.assert_close(state.hidden, hidden, atol=1e-5, rtol=0)
            pairs = block.attn.qkv(hidden)[..., 16:]
            torch.testing.assert_close(state.pairs, pairs, atol=1e-5, rtol=0)
            tokens = block(tokens)


@pytest.mark.parametrize(("at_once", "calls"), [(1, 5), (2, 3), (5, 1)])
@pytest.mark.parametrize("n_prompts", [0, 3])
@torch.no_grad()
def test_lanes_in_pieces_are_the_lanes_together(
    monkeypatch: pytest.MonkeyPatch, at_once: int, calls: int, n_prompts: int
) -> None:
    blocks = tuple(range(tiny_vit().depth))
    fused, _ = twins(tiny_vit(), 5, n_selectors=2, prompt_length=n_prompts, prompted_blocks=blocks)
    want = fused(IMAGES)
    pieces: list[int] = []
    one = lanes.joined_block

    def counted(block: Any, rows: Tensor, state: Any, prompts: Any, *, evolve: bool) -> Tensor:
        pieces.append(rows.shape[1])
        return one(block, rows, state, prompts, evolve=evolve)

    # weights of 2 selectors on 5 tokens, and keys and values, for 3 images
    of_lane = 3 * (2 * 5 + (1 + 2 + n_prompts) * 2 * 16)
    monkeypatch.setattr(lanes, "joined_block", counted)
    monkeypatch.setattr(lanes, "SUMMARY_NUMBERS", at_once * of_lane)
    torch.testing.assert_close(fused(IMAGES), want)
    assert len(pieces) == calls * fused.backbone.depth
    assert max(pieces) == at_once
