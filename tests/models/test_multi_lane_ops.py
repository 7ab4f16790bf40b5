"""The algebra of lanes: fused against literal, what the summary is, and what all of it costs."""

from __future__ import annotations

import itertools
import weakref
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models import multi_lane_ops as lanes
from cl_prompts.models.multi_lane import MultiLaneViT
from tests.toy_vits import empty_vit_b, tiny_vit

SLOT_UPDATES = get_args(lanes.SlotUpdate)
IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def twins(backbone: FrozenViT, n_lanes: int, **options: Any) -> tuple[MultiLaneViT, MultiLaneViT]:
    """The same model in the fused and in the literal form, with random values in every lane."""
    torch.manual_seed(1)
    pair = [
        MultiLaneViT(backbone, 2 * n_lanes, impl=name, init="uniform", **options)
        for name in ("fused", "literal")
    ]
    for i in range(n_lanes):
        for model in pair:
            model.open_lane([2 * i, 2 * i + 1], copy_previous=False)
    pair[1].load_learned_state(pair[0].learned_state())
    return pair[0].eval(), pair[1].eval()


def gradients(model: MultiLaneViT) -> dict[str, Tensor]:
    weight = torch.linspace(-1, 1, model.backbone.dim)
    model.zero_grad()
    (model.lane_features(IMAGES) * weight).sum().backward()
    return {k: p.grad for k, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("n_lanes", "n_selectors", "n_prompts"),
    [(1, 1, 0), (1, 2, 1), (1, 20, 20), (3, 1, 20), (3, 20, 0), (3, 2, 1), (8, 2, 20), (8, 20, 1)],
)
def test_fused_equals_literal(n_lanes: int, n_selectors: int, n_prompts: int) -> None:
    options = {"n_selectors": n_selectors, "prompt_length": n_prompts, "prompted_blocks": (0, 2)}
    fused, literal = twins(tiny_vit(), n_lanes, **options)
    for model in (fused, literal):
        model.lanes.requires_grad_(True)  # all lanes at once, which training never does
    torch.testing.assert_close(
        fused.run(IMAGES).logits, literal.run(IMAGES).logits, atol=1e-5, rtol=0
    )
    mine = gradients(fused)
    theirs = gradients(literal)
    assert mine.keys() == theirs.keys()
    assert len(mine) == n_lanes * (2 if n_prompts else 1)  # without prompts: selectors alone
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "slot_update"),
    zip(
        [
            {"init_values": 0.3},
            {"qk_norm": True},
            {"reg_tokens": 3},
            {"no_embed_class": True, "reg_tokens": 2},
            {"pre_norm": True},
            {"qkv_bias": False},
            {"scale_attn_norm": True},
        ],
        itertools.cycle(SLOT_UPDATES),
        strict=False,
    ),
    ids=str,
)
def test_every_plain_vit(changes: dict[str, Any], slot_update: str) -> None:
    options = {
        "n_selectors": 3,
        "prompt_length": 2,
        "prompted_blocks": (0, 1),
        "slot_update": slot_update,
    }
    fused, literal = twins(tiny_vit(**changes), 2, **options)
    want = literal.lane_features(IMAGES)
    torch.testing.assert_close(fused.lane_features(IMAGES), want, atol=1e-5, rtol=0)
    with torch.no_grad():  # in the form of evaluation
        torch.testing.assert_close(fused.lane_features(IMAGES), want, atol=1e-5, rtol=0)
    mine = gradients(fused)
    theirs = gradients(literal)
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


def test_slot_updates_differ() -> None:
    blocks = tiny_vit().vit.blocks
    selectors = torch.randn(2, 3, 16)
    released, reset = (lanes.slot_norms(blocks, selectors, update) for update in SLOT_UPDATES)
    torch.testing.assert_close(released[0], reset[0])
    assert all((a - b).abs().max() > 1e-2 for a, b in zip(released[1:], reset[1:], strict=True))
    torch.testing.assert_close(reset[2], blocks[2].norm1(selectors))


def test_frozen_stream_is_timms() -> None:
    for changes in ({}, {"init_values": 0.3}, {"qk_norm": True}, {"reg_tokens": 3}):
        backbone = tiny_vit(**changes)
        states = list(lanes.frozen_states(backbone, IMAGES))
        vit = backbone.vit
        want = vit.forward_features((IMAGES - backbone.mean) / backbone.std)
        torch.testing.assert_close(
            vit.norm(vit.blocks[-1](states[-1].tokens)), want, atol=1e-5, rtol=0
        )
        for block, state in zip(vit.blocks, states, strict=True):
            assert not any(t.requires_grad for t in vars(state).values())
            qkv = block.attn.qkv(block.norm1(state.tokens))
            torch.testing.assert_close(
                torch.cat([state.keys, state.values], -1), qkv[..., 16:], atol=1e-5, rtol=0
            )


def test_mlp_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_vit()
    whole = [s.tokens for s in lanes.frozen_states(backbone, IMAGES)]
    monkeypatch.setattr(lanes, "MLP_ROWS", 4)
    for a, b in zip(whole, lanes.frozen_states(backbone, IMAGES), strict=True):
        torch.testing.assert_close(a, b.tokens, atol=1e-6, rtol=0)


# --------------------------------------------------------------------------------------------- cost

D = 768
L = 12
N = 197
PATCHES = 196
FROZEN = L * (12 * N * D**2 + 2 * N**2 * D) + PATCHES * D**2
LAST_BLOCK_SAVING = 10 * N * D**2 + 2 * N**2 * D


def specified(impl: str, n_lanes: int, s: int, p: int, prompted: int) -> float:
    """Multiply-accumulates of one image with cached slots, as MULTI-LANE's formulas have them."""
    if impl == "literal":
        lane = L * (2 * s * N * D + 12 * (s + 1) * D**2) + 2 * (s + 1) * D * (
            (s + 1) * L + p * prompted
        )
    else:
        lane = L * (3 * s * N * D + 12 * D**2) + 2 * D * ((s + 1) * L + p * prompted)
    return FROZEN - LAST_BLOCK_SAVING + n_lanes * lane


def base_model(n_lanes: int, impl: str, s: int) -> MultiLaneViT:
    """ViT-B/16 without memory or time: on the meta device."""
    backbone = empty_vit_b()
    with torch.device("meta"):
        model = MultiLaneViT(backbone, n_lanes, impl=impl, n_selectors=s, prompt_length=s)
        for _ in range(n_lanes):
            model.lanes.open(torch.device("meta"), init="uniform", scale=1.0, copy_previous=False)
    return model.eval()


def counted(model: MultiLaneViT, batch: int) -> float:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        model.lane_features(torch.empty(batch, 3, 224, 224, device="meta"))
    return flops.get_total_flops() / 2


@pytest.mark.slow
@pytest.mark.parametrize(("n_lanes", "s"), [(1, 20), (5, 10)])
@pytest.mark.parametrize("impl", ["fused", "literal"])
def test_cost_is_as_specified(impl: str, n_lanes: int, s: int) -> None:
    model = base_model(n_lanes, impl, s)
    counter = model.backbone.counter
    first = counted(model, batch=1)
    # Products with a single query are written as elementwise products, which the flop counter
    # leaves out.
    products = n_lanes * L * 2 * (1 + s) * D if impl == "fused" else 0
    assert counter.macs == pytest.approx(first + products, rel=1e-6)
    slots = 0 if impl == "literal" else n_lanes * 8 * (L - 1) * s * D**2
    counter.reset()
    again = counted(model, batch=2) / 2
    assert first - again == pytest.approx(
        slots, rel=1e-6
    )  # once, whatever the batch, and kept from then on
    assert counter.macs / 2 == pytest.approx(again + products, rel=1e-6)
    assert again == pytest.approx(specified(impl, n_lanes, s, s, 5), rel=0.02)
    assert (counter.images, counter.blocks) == (2, 2 * L)


def test_training_adds_memory_for_lanes_only() -> None:
    """What autograd holds: per block the frozen states, and never an activation of the frozen
    MLP."""
    backbone = tiny_vit(img_size=64)
    model = MultiLaneViT(backbone, 2, n_selectors=2, prompt_length=2, prompted_blocks=(0,)).train()
    model.open_lane([0, 1])
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    frozen_weights = {p.untyped_storage().data_ptr() for p in backbone.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        F.softplus(model.run(torch.rand(4, 3, 64, 64)).logits).sum()
    held = sum(size for pointer, size in saved.items() if pointer not in frozen_weights)
    states = (
        backbone.depth * 4 * backbone.n_tokens * backbone.dim * 4 * 4
    )  # h, and the projection's three thirds, fp32
    assert held < 1.3 * states


def test_state_is_released_before_the_mlp() -> None:
    stream = lanes.frozen_states(tiny_vit(), IMAGES)
    state = next(stream)
    gone = weakref.ref(state.hidden)
    del state
    next(stream)
    assert gone() is None


@pytest.mark.parametrize(("at_once", "calls"), [(1, 5), (2, 3), (5, 1)])
@pytest.mark.parametrize("n_prompts", [0, 3])
@torch.no_grad()
def test_lanes_in_pieces_are_the_lanes_together(
    monkeypatch: pytest.MonkeyPatch, at_once: int, calls: int, n_prompts: int
) -> None:
    fused, _ = twins(tiny_vit(), 5, n_selectors=2, prompt_length=n_prompts, prompted_blocks=(0,))
    want = fused(IMAGES)
    pieces: list[int] = []
    one = lanes.fused_block

    def counted(block: Any, token: Tensor, state: Any, slots: Tensor, prompts: Any) -> Tensor:
        pieces.append(token.shape[1])
        return one(block, token, state, slots, prompts)

    of_lane = 3 * 2 * (2 * 16 + 5)  # keys, values and weights of 2 selectors for 3 images
    monkeypatch.setattr(lanes, "fused_block", counted)
    monkeypatch.setattr(lanes, "SUMMARY_NUMBERS", at_once * of_lane)
    torch.testing.assert_close(fused(IMAGES), want)
    assert len(pieces) == calls * fused.backbone.depth
    assert max(pieces) == at_once
