"""Alignment to a reference covariance: published numbers in double precision."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.backbones import FrozenViT, PromptPlan
from cl_prompts.models import BatchAlignment
from cl_prompts.models.alignment import aligned, directions
from cl_prompts.strategies import MISA
from tests.golden_numbers import Golden, add_position, golden_vit, gradient, put

GOLDEN = Golden("mepo", "later")
CASES = sorted({key.split("/")[1] for key in GOLDEN.keys("transform/")})


@pytest.mark.parametrize("case", CASES)
def test_published_transform_and_its_gradient(case: str) -> None:
    at = f"transform/{case}"
    features, target = GOLDEN(f"{at}/features"), GOLDEN(f"{at}/target")
    released = directions(features, target)
    GOLDEN.close_double(released, f"{at}/released")
    GOLDEN.close_double(F.normalize(released), f"{at}/unit")
    blends = {key.split("/")[2] for key in GOLDEN.keys(f"{at}/blend")}
    for blend in blends:
        given = features.clone().requires_grad_()
        c = float(blend.removeprefix("blend_"))
        output = aligned(given, target, coefficient=c)
        GOLDEN.close_double(output, f"{at}/{blend}/output")
        (output * GOLDEN(f"{at}/loss_weight")).sum().backward()
        GOLDEN.close_double(gradient(given), f"{at}/{blend}/grad_features")


def in_double() -> FrozenViT:
    return golden_vit().double()


def embedded(vit: FrozenViT, images: Tensor) -> Tensor:
    """Tokens in double precision, which the ViT's own embedding has not."""
    return vit.vit._pos_embed(vit.vit.patch_embed(images.double()))


def test_published_moving_reference(tmp_path: Path) -> None:
    torch.save(GOLDEN("ema/g_prompts"), tmp_path / "g_prompt.pt")
    torch.save(GOLDEN("ema/e_prompts"), tmp_path / "e_prompt.pt")
    strategy = MISA(
        backbone=golden_vit(),
        n_classes=len(GOLDEN("ema/bias")),
        pool_size=len(GOLDEN("ema/keys")),
        g_length=GOLDEN("ema/g_prompts").shape[1] // 2,  # two blocks
        e_length=GOLDEN("ema/e_prompts").shape[1] // 3,
        initial_prompts=str(tmp_path),
        evaluator=None,
        device="cpu",
        head={"input": "aligned", "coefficient": 0.6},
    )
    model = strategy.model.eval().double()
    model.whitening.momentum = 0.7
    add_position(model)
    put(model.selector.inner.key, GOLDEN("ema/keys"))
    put(model.head.weight, GOLDEN("ema/weight"))
    put(model.head.bias, GOLDEN("ema/bias"))
    for pool, name in zip(model.pools, ("g", "e"), strict=True):
        put(pool.values, GOLDEN(f"ema/{name}_prompts"))
    vit = model.backbone
    for i in range(len({key.split("/")[1] for key in GOLDEN.keys("ema/batch")})):
        tokens = embedded(vit, GOLDEN(f"ema/batch{i}/images"))
        selection = model.selector(vit.norm(vit.blocks(tokens))[:, 0])
        plan = PromptPlan()
        for pool in model.pools:
            plan.add(pool.build(selection))
        read = model.whitening(vit.norm(vit.blocks(tokens, plan))[:, 0])
        GOLDEN.close_double(read, f"ema/batch{i}/head_input")
        GOLDEN.close_double(model.head(read), f"ema/batch{i}/logits")
        GOLDEN.close_double(model.whitening.reference, f"ema/batch{i}/covariance")


def features(n: int, dim: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(dim, dim, generator=generator).double()
    return torch.randn(n, dim, generator=generator).double() @ mixing + 10


def test_evaluation_moves_the_reference() -> None:
    alignment = BatchAlignment(8)
    x = features(20)
    assert torch.equal(alignment(x), x)  # the first batch makes the reference
    before = copy.deepcopy(alignment.state_dict())
    first = alignment.eval()(x[:10])
    assert not torch.equal(alignment.reference, before["reference"])
    alignment.load_state_dict(before)
    assert torch.equal(alignment(x[:10]), first)
