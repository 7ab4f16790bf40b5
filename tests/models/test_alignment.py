"""Alignment to a reference covariance: published numbers in double precision."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones import FrozenViT, PromptPlan
from cl_prompts.losses import mvp_classification_loss
from cl_prompts.models import BatchAlignment, Output
from cl_prompts.models.alignment import aligned, directions
from cl_prompts.prompts import NearestKeys, PrependedTokenPool
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


def test_published_steps_of_l2p() -> None:
    vit = in_double()
    images, labels, target = (GOLDEN(f"l2p/{name}") for name in ("images", "labels", "target"))
    prompts = GOLDEN("l2p/prompts")
    keys = NearestKeys(len(prompts), vit.dim, k=2).double()
    pool = PrependedTokenPool(*prompts.shape).double()
    add_position(SimpleNamespace(backbone=vit, pools=[pool]))
    head = nn.Linear(vit.dim, len(GOLDEN("l2p/bias"))).double()
    parameters = {
        "keys": keys.key,
        "prompts": pool.values,
        "weight": head.weight,
        "bias": head.bias,
    }
    for name, parameter in parameters.items():
        put(parameter, GOLDEN(f"l2p/{name}"))

    def run(shown: Tensor) -> Tensor:
        tokens = embedded(vit, shown)
        selection = keys(vit.norm(vit.blocks(tokens))[:, 0].detach())
        plan = pool.build(selection)
        features = vit.norm(vit.blocks(tokens, plan, prepended_only=True)).mean(dim=1)
        logits: Tensor = head(aligned(features, target, coefficient=0.5))
        return logits

    optimizer = torch.optim.Adam(parameters.values(), 5e-3)
    for step in range(sum(key.endswith("/logits") for key in GOLDEN.keys("l2p/step"))):
        logits = run(images)
        GOLDEN.close_double(logits, f"l2p/step{step}/logits")
        # The released term of the keys is a buffer that stays 0, so no key is trained.
        assert float(GOLDEN(f"l2p/step{step}/similarity")) == 0
        loss = F.cross_entropy(logits, labels)  # as released, without the keys' term
        GOLDEN.close_double(loss, f"l2p/step{step}/loss")
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in parameters.items() if step == 0 else ():
            GOLDEN.close_double(gradient(parameter), f"l2p/step0/grad_{name}")
        optimizer.step()
    for name, parameter in parameters.items():
        GOLDEN.close_double(parameter, f"l2p/after/{name}")
    half = len(GOLDEN("l2p/eval/first_half"))
    for n, key in ((len(images), "whole_batch"), (half, "first_half")):
        GOLDEN.close_double(run(images[:n]), f"l2p/eval/{key}")


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


def test_published_loss_of_mvp() -> None:
    inputs = {
        name: GOLDEN(f"mvp/{name}").requires_grad_()
        for name in ("features", "mask_param", "weight", "bias")
    }
    head = nn.Linear(*reversed(inputs["weight"].shape)).double()
    put(head.weight, inputs["weight"])
    put(head.bias, inputs["bias"])
    seen = torch.from_numpy(GOLDEN.arrays["mvp/open"])
    read = aligned(
        inputs["features"],
        GOLDEN("mvp/target"),
        coefficient=GOLDEN.number("mvp/coefficient"),
    )
    mask = 2 * torch.sigmoid(inputs["mask_param"])
    logits = head(read) * mask
    GOLDEN.close_double(logits[:, seen], "mvp/logits_open")
    output = Output(logits.masked_fill(~seen, -torch.inf), read, None, mask)
    loss = mvp_classification_loss(
        output,
        GOLDEN("mvp/labels"),
        head,
        seen,
        gsf_reduction="batch_mean",
        **{name: GOLDEN.number(f"mvp/{name}") for name in ("alpha", "gamma", "margin")},
    ) + GOLDEN.number("mvp/similarity_loss")
    GOLDEN.close_double(loss, "mvp/loss")
    loss.backward()
    for name, given in inputs.items():
        found = {"weight": head.weight, "bias": head.bias}.get(name, given)
        GOLDEN.close_double(gradient(found), f"mvp/grad_{name}")


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
