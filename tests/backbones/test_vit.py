"""The frozen ViT: equal to timm's forward, frozen, with the right cost; devices."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import Block, ParallelThingsBlock, VisionTransformer
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones import FrozenViT, PromptPlan, devices
from cl_prompts.backbones.devices import check_precision, computes_bf16, pick_device
from cl_prompts.errors import InputError
from tests.toy_vits import TINY, VIT_VARIANTS, tiny_vit


@pytest.mark.parametrize("variant", VIT_VARIANTS.values(), ids=VIT_VARIANTS.keys())
def test_an_empty_plan_is_timm_itself(variant: dict[str, Any]) -> None:
    backbone = tiny_vit(**variant)
    images = torch.rand(3, 3, 16, 16)
    want = backbone.vit.forward_features((images - 0.5) / 0.5)
    assert torch.equal(backbone.norm(backbone.blocks(backbone.embed(images))), want)
    # The last block is computed for the class token alone.
    torch.testing.assert_close(backbone(images), want[:, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VIT_VARIANTS.values(), ids=VIT_VARIANTS.keys())
def test_a_shared_entry_changes_nothing_but_the_work(variant: dict[str, Any]) -> None:
    backbone = tiny_vit(**variant)
    tokens = backbone.embed(torch.rand(2, 3, 16, 16))
    plan = PromptPlan(context={0: torch.randn(2, 3, 16), 2: torch.randn(1, 2, 16)})
    backbone.counter.reset()
    want = backbone.class_features(tokens, plan)
    alone = backbone.counter.macs
    backbone.counter.reset()
    entry = backbone.enter(tokens)
    torch.testing.assert_close(
        backbone.class_features(tokens, plan, entry=entry), want, atol=1e-6, rtol=0
    )
    assert backbone.counter.macs == alone
    torch.testing.assert_close(
        backbone.blocks(tokens, stop=1, read=backbone.own, entry=entry),
        backbone.blocks(tokens, stop=1, read=backbone.own),
    )


@pytest.mark.parametrize("shared_entry", [False, True])
@pytest.mark.parametrize("prepended_only", [False, True])
def test_prepended_tokens_alone_equal_all_tokens_and_cost_less(
    prepended_only: bool, shared_entry: bool
) -> None:
    backbone = tiny_vit()
    tokens = backbone.embed(torch.rand(3, 3, 16, 16))
    prepended = torch.randn(3, 5, 16, requires_grad=True)
    plan = PromptPlan(prepended=prepended)
    backbone.counter.reset()
    want = backbone.norm(backbone.blocks(tokens, plan))[:, -5:]
    everything = backbone.counter.macs
    backbone.counter.reset()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        entry = backbone.enter(tokens) if shared_entry else None
        got = backbone.norm(
            backbone.blocks(tokens, plan, prepended_only=prepended_only, entry=entry)
        )[:, -5:]
    assert backbone.counter.macs == pytest.approx(flops.get_total_flops() / 2, rel=1e-6)
    assert (backbone.counter.macs < everything) == prepended_only
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    ramp = torch.arange(16)
    gradients = [
        torch.autograd.grad((out * ramp).sum(), prepended, retain_graph=True)[0]
        for out in (got, want)
    ]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
    pooled = backbone.class_features(tokens, plan, entry=entry, prepended_only=True)
    torch.testing.assert_close(pooled, want.mean(dim=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"context": {0: torch.zeros(1, 3, 16), 2: torch.zeros(1, 2, 16)}},
        {"prepended": torch.zeros(1, 4, 16)},
        {"prefix": {0: (torch.zeros(1, 2, 3, 8),) * 2, 3: (torch.zeros(1, 2, 4, 8),) * 2}},
        {"prepended": torch.zeros(1, 6, 16), "prefix": {2: (torch.zeros(1, 2, 1, 8),) * 2}},
    ],
)
def test_counted_work_is_what_the_flop_counter_sees(plan: dict[str, Any]) -> None:
    backbone = tiny_vit()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops, torch.no_grad():
        backbone.class_features(backbone.embed(torch.rand(1, 3, 16, 16)), PromptPlan(**plan))
    assert backbone.counter.macs == pytest.approx(flops.get_total_flops() / 2, rel=1e-6)
    assert backbone.counter.images == 1
    assert backbone.counter.blocks == 4


def test_images_are_normalised_by_channel() -> None:
    mean = (0.1, 0.2, 0.3)
    std = (0.5, 0.6, 0.7)
    backbone = FrozenViT(tiny_vit().vit, normalisation=(mean, std))
    images = torch.rand(2, 3, 16, 16)
    channels = [(images[:, i] - mean[i]) / std[i] for i in range(3)]
    want = backbone.vit.forward_features(torch.stack(channels, dim=1))[:, 0]
    torch.testing.assert_close(backbone(images), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: timm.create_model("resnet10t"), "ResNet is not a plain Vision Transformer"),
        (
            lambda: VisionTransformer(**{**TINY, "global_pool": "max"}),
            "pooling 'max' is not supported",
        ),
        (lambda: VisionTransformer(**TINY, block_fn=type("OddBlock", (Block,), {})), "OddBlock"),
        (lambda: VisionTransformer(**TINY, block_fn=ParallelThingsBlock), "ParallelThingsBlock"),
        (lambda: VisionTransformer(**TINY, in_chans=1), "input other than square RGB images"),
        (lambda: VisionTransformer(**{**TINY, "img_size": (16, 32)}), "input other than square"),
        (lambda: timm.create_model("vit_tiny_r_s16_p8_224"), "embedding HybridEmbed"),
    ],
)
def test_other_models_are_refused_with_the_ones_that_work(model: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        FrozenViT(model())
    assert "DINOv2" in str(caught.value)


def test_auto_picks_the_best_device() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(torch.device("cpu")) == torch.device("cpu")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device().type == best


@pytest.mark.parametrize("name", ["gpux", "cpu:x", "cuda:99", "meta"])
def test_a_missing_device_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}' is not available here: use device=auto"):
        pick_device(name)


def test_bf16_is_refused_on_gpus_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    check_precision("bf16", torch.device("cpu"))
    check_precision("fp32", torch.device("cuda"))
    says = "bf16 is not supported by device cuda: use precision=fp32"
    with pytest.raises(InputError, match=says):
        check_precision("bf16", torch.device("cuda"))


@pytest.mark.parametrize(
    ("flags", "seconds", "faster"),
    [("avx512_bf16", 0.7, True), ("amx_bf16", 0.9, False), ("avx512f", 0.1, False)],
)
def test_a_cpu_with_bf16_instructions_may_be_slower_in_bf16(
    flags: str, seconds: float, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: flags)
    times = {torch.bfloat16: seconds, torch.float32: 1.0}
    monkeypatch.setattr(devices, "_seconds_of_product", times.__getitem__)
    assert computes_bf16.__wrapped__(torch.device("cpu")) is faster
