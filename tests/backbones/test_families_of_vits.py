"""Every class of timm's ViTs: timm's own numbers without prompts, literal formulas with them."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.layers import apply_rot_embed_cat
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weight_files import backbone_hash, load_weights
from cl_prompts.models.multi_lane import MultiLaneViT
from cl_prompts.prompts.selectors import ClassTokenQuery
from tests.models.literal_lanes import multi_lane
from tests.refusals import check_refusals
from tests.toy_families import FAMILIES, NEW_TIMM, family_vit

EVERY = pytest.mark.parametrize("family", FAMILIES)
#: one of each kind of positions, projections and pooling
KINDS = ("dinov3", "eva02_unfused", "pe_core", "rope_mixed", "siglip", "reg4_gap", "aimv2")
KINDS = KINDS if NEW_TIMM else tuple(family for family in KINDS if family != "rope_mixed")
#: with a class token, whatever is read
LANES = ("dinov3", "eva02_unfused", "eva02", "pe_core", "rope_mixed")


def images(n: int = 2, size: int = 16) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@EVERY
@pytest.mark.parametrize("size", [16, 24])
@pytest.mark.parametrize("dynamic", [False, True])
def test_without_prompts_timm_s_own_numbers(family: str, size: int, dynamic: bool) -> None:
    made = {"dynamic_img_size": True} if dynamic else {"dynamic_img_size": False, "img_size": size}
    vit = family_vit(family, **made)
    shown = images(size=size)
    tokens = vit.vit.forward_features((shown - 0.5) / 0.5)
    assert torch.equal(vit.norm(vit.blocks(vit.embed(shown))), tokens)
    pooled = vit.vit.forward_head(tokens, pre_logits=True)
    if vit.own.pool == "token":  # of which alone the last block computes
        torch.testing.assert_close(vit(shown), pooled, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(vit(shown), pooled)


def literal(vit: FrozenViT, tokens: Tensor, plan: PromptPlan) -> list[Tensor]:
    """Outputs of all blocks for the image's tokens and, behind them, prepended prompts."""
    n = tokens.shape[1]
    outputs = []
    if plan.prepended is not None:
        tokens = torch.cat([tokens, plan.prepended.expand(len(tokens), -1, -1)], dim=1)
    for i, block in enumerate(vit.vit.blocks):
        entering = tokens
        if i in plan.context:
            entering = torch.cat([tokens, plan.context[i].expand(len(tokens), -1, -1)], dim=1)
        attended = attention(vit, i, block.norm1(entering), plan.prefix.get(i), n)
        first, second = (
            (block.ls1, block.ls2)
            if hasattr(block, "ls1")
            else (scale_of(block.gamma_1), scale_of(block.gamma_2))
        )
        middle = entering + first(attended)
        tokens = (middle + second(block.mlp(block.norm2(middle))))[:, : tokens.shape[1]]
        outputs.append(tokens)
    return outputs


def scale_of(gamma: Tensor | None) -> Any:
    return lambda x: x if gamma is None else x * gamma


def attention(vit: FrozenViT, i: int, x: Tensor, prefix: Any, n_own: int) -> Tensor:
    """Softmax attention of block ``i`` over tokens whose patches alone are rotated."""
    attn = vit.vit.blocks[i].attn
    if attn.qkv is None:
        parts = [layer(x) for layer in (attn.q_proj, attn.k_proj, attn.v_proj)]
    else:
        bias = attn.qkv.bias
        if getattr(attn, "q_bias", None) is not None:
            bias = torch.cat([attn.q_bias, torch.zeros_like(attn.q_bias), attn.v_bias])
        parts = list(F.linear(x, attn.qkv.weight, bias).chunk(3, dim=-1))
    by_head = [part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in parts]
    query, keys, values = by_head
    query, keys = attn.q_norm(query), attn.k_norm(keys)
    if getattr(vit.vit, "rope", None) is not None:
        table = vit.vit.rope.get_embed(shape=vit.vit.patch_embed.grid_size)
        table = table[i] if vit.vit.rope_mixed else table
        patches = slice(vit.vit.num_prefix_tokens, n_own)
        half = {"half": True} if attn.rotate_half else {}
        query, keys = query.clone(), keys.clone()
        query[:, :, patches] = apply_rot_embed_cat(query[:, :, patches], table, **half)
        keys[:, :, patches] = apply_rot_embed_cat(keys[:, :, patches], table, **half)
    if prefix is not None:
        keys = torch.cat([keys, prefix[0].expand(len(x), -1, -1, -1)], dim=2)
        values = torch.cat([values, prefix[1].expand(len(x), -1, -1, -1)], dim=2)
    weights = (query @ keys.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1)
    out = (weights @ values).transpose(1, 2).flatten(2)
    return attn.proj(attn.norm(out))


def pooled(vit: FrozenViT, tokens: Tensor) -> Tensor:
    """What timm reads of the image's tokens."""
    return vit.vit.forward_head(vit.vit.norm(tokens), pre_logits=True)


def plans() -> dict[str, tuple[PromptPlan, list[Tensor]]]:
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randn(1, 3, 32, generator=draw).requires_grad_()
    pairs = [torch.randn(1, 2, 4, 16, generator=draw).requires_grad_() for _ in range(4)]
    prefix = {0: (pairs[0], pairs[1]), 2: (pairs[2], pairs[3])}
    return {
        "context": (PromptPlan(context={0: tokens, 2: tokens}), [tokens]),
        "prefix": (PromptPlan(prefix=prefix), pairs),
        "both": (PromptPlan(prepended=tokens, prefix=prefix), [tokens, *pairs]),
    }


FORMS = [(family, "both") for family in FAMILIES]
FORMS += [(family, form) for family in KINDS for form in ("context", "prefix")]


@pytest.mark.parametrize(("family", "form"), FORMS)
def test_prompts_and_their_gradients_are_those_of_literal_formulas(family: str, form: str) -> None:
    vit = family_vit(family)
    plan, learnt = plans()[form]
    tokens = vit.embed(images())
    n = tokens.shape[1]
    of_blocks = literal(vit, tokens, plan)
    ways = [(vit.class_features(tokens, plan), pooled(vit, of_blocks[-1][:, :n]))]
    raw = vit.with_features("raw_blocks:1")  # of which a mean is taken within the last MLP
    ways.append((raw.class_features(tokens, plan), vit.vit.pool(of_blocks[-1][:, :n])))
    if form == "prefix":  # a shared entry
        ways.append((vit.class_features(tokens, plan, entry=vit.enter(tokens)), ways[0][1]))
    if plan.prepended is not None:
        of_prompts = vit.vit.norm(of_blocks[-1][:, n:]).mean(dim=1)
        ways.append(
            (vit.class_features(tokens, plan, prepended_only=True), vit.vit.fc_norm(of_prompts))
        )
    ramp = torch.linspace(-1, 1, 32)
    for got, want in ways:
        torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)
        found = torch.autograd.grad((got * ramp).sum(), learnt, retain_graph=True)
        expected = torch.autograd.grad((want * ramp).sum(), learnt, retain_graph=True)
        for mine, literally in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, literally, atol=1e-4, rtol=1e-3)


@EVERY
def test_queries_and_several_blocks_follow_the_same_reading(family: str) -> None:
    vit = family_vit(family)
    tokens = vit.embed(images())
    outputs = literal(vit, tokens, PromptPlan())
    want = torch.cat([pooled(vit, output) for output in outputs[-2:]], dim=1)
    got = vit.with_features("blocks:2").class_features(tokens)
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)
    query = ClassTokenQuery(skip_last=True)(vit, tokens, vit.enter(tokens, 1))
    torch.testing.assert_close(query, pooled(vit, outputs[-2]), atol=2e-5, rtol=1e-4)
    raw = ClassTokenQuery(norm=False)(vit, tokens)
    torch.testing.assert_close(raw, vit.vit.pool(outputs[-1]), atol=2e-5, rtol=1e-4)


@EVERY
def test_features_by_name(family: str) -> None:
    vit = family_vit(family)
    shown = images()
    tokens = vit.vit.forward_features((shown - 0.5) / 0.5)
    mean = tokens[:, vit.vit.num_prefix_tokens :].mean(dim=1)
    possible = {"avg": mean}
    if vit.vit.cls_token is not None:
        possible["token"] = tokens[:, 0]
    if vit.vit.attn_pool is not None:
        possible["pool"] = vit.vit.pool(tokens)
    assert set(vit.architecture.pools) == set(possible)
    for name, want in possible.items():
        got = vit.with_features(name)(shown)
        torch.testing.assert_close(got, vit.vit.fc_norm(want), atol=2e-5, rtol=1e-4)
    assert vit.with_features("own") is vit.with_features(vit.own.pool) is vit
    if vit.own.pool != "avg":
        both = vit.with_features("blocks:1+patches")(shown)
        want = torch.cat([vit(shown), vit.vit.fc_norm(mean)], dim=1)
        torch.testing.assert_close(both, want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", LANES)
def test_fused_lanes_are_literal_lanes_on_any_class_token(family: str) -> None:
    vit = family_vit(family)
    made = []
    for impl in ("fused", "literal"):
        torch.manual_seed(0)
        model = multi_lane(vit, 4, impl, n_selectors=3, prompt_length=2, prompted_blocks=(0, 2))
        model.open_lane([0, 1])
        model.open_lane([2, 3])
        made.append(model)
    fused, written = (model.eval()(images()) for model in made)
    torch.testing.assert_close(fused, written, atol=1e-5, rtol=1e-4)
    fused, written = (model.train()(images())[:, 2:] for model in made)
    torch.testing.assert_close(fused, written, atol=1e-5, rtol=1e-4)
    for logits in (fused, written):
        logits.sum().backward()
    lanes = [model.lanes[-1] for model in made]
    torch.testing.assert_close(lanes[0].prompts.grad, lanes[1].prompts.grad, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(
        lanes[0].selectors.grad, lanes[1].selectors.grad, atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("family", KINDS)
def test_counted_work_is_what_the_flop_counter_sees(family: str) -> None:
    vit = family_vit(family)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops, torch.no_grad():
        vit(images())
    assert vit.counter.macs == pytest.approx(flops.get_total_flops() / 2, rel=1e-6)
    if vit.own.pool != "token":
        assert vit.counter.macs == pytest.approx(2 * vit.forward_macs)
    else:
        assert vit.counter.macs < 2 * vit.forward_macs
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as of_query:
        vit.counter.reset()
        ClassTokenQuery(skip_last=True, norm=False)(vit, vit.embed(images()))
    assert vit.counter.macs == pytest.approx(of_query.get_total_flops() / 2, rel=1e-6)


@pytest.mark.parametrize("family", KINDS)
def test_bf16_weights_files_and_hashes(family: str, tmp_path: Path) -> None:
    vit = family_vit(family)
    half = FrozenViT(family_vit(family).vit, precision="bf16")
    assert half(images()).dtype is torch.float32
    torch.testing.assert_close(half(images()), vit(images()), atol=0.4, rtol=0.2)
    save_file(vit.vit.state_dict(), tmp_path / "a.safetensors")
    twin = FrozenViT(timm_like(family))
    assert backbone_hash(twin) != backbone_hash(vit)
    load_weights(twin.vit, tmp_path / "a.safetensors")
    assert torch.equal(twin(images()), vit(images()))
    assert backbone_hash(twin) == backbone_hash(vit)
    other = "avg" if vit.own.pool != "avg" else "blocks:2"
    assert backbone_hash(vit.with_features(other)) != backbone_hash(vit)


def timm_like(family: str) -> Any:
    twin = family_vit(family).vit
    for parameter in twin.parameters():
        parameter.data.mul_(1.5)
    return twin


TINY = {"img_size": 32, "embed_dim": 48, "depth": 1, "num_heads": 2}
REFUSED = {
    "beit": ("beit_base_patch16_224", TINY),
    "naflexvit": ("naflexvit_base_patch16_gap", {"embed_dim": 48, "depth": 1, "num_heads": 2}),
    "distilled": ("deit_tiny_distilled_patch16_224", TINY),
    "swin": ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (1, 1, 1, 1)}),
    "hiera": ("hiera_tiny_224", {"embed_dim": 24, "stages": (1, 1, 1, 1)}),
    "post_norm": ("eva02_enormous_patch14_clip_224", {**TINY, "patch_size": 16}),
    "grouped": ("vit_base_patch16_sapiens2", {**TINY, "embed_dim": 64, "num_kv_heads": 1}),
}


def _refused(name: str, options: dict[str, Any]) -> FrozenViT:
    return FrozenViT(timm.create_model(name, **options))


@pytest.mark.skipif(not NEW_TIMM, reason="this timm lacks one of the models")
def test_other_models_and_features_are_refused_in_one_sentence() -> None:
    def features(family: str, name: str) -> Any:
        return lambda: family_vit(family).with_features(name)

    check_refusals(
        Path(__file__).with_suffix(".txt"),
        {
            **{name: partial(_refused, *build) for name, build in REFUSED.items()},
            "no class token": features("siglip", "token"),
            "no attention pool": features("dinov3", "pool"),
            "lanes": lambda: MultiLaneViT(family_vit("siglip"), 3),
        },
    )
