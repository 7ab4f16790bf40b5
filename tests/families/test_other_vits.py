"""Strategies on ViTs with rotary positions, and on ViTs without a class token."""

import pytest
import timm
import torch

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from tests.toy_data import experiences
from tests.toy_families import family_vit
from tests.toys import OTHERS, PROMPTED, TABLE, cls_of, fit, learnable, make, same

#: that act on a class token, which SigLIP does not have
ON_CLASS_TOKENS = ("multi_lane", "additive_prompt")
#: one of each other kind; those on fixed features differ in their classifiers alone
KINDS = ("fine_tuning", "ease", "multi_label_ridge")
PAIRS = [(kind, family) for kind in (*PROMPTED, *KINDS) for family in ("dinov3", "siglip")]
#: those of the table of toys pass the tests of all families
PAIRS = [(kind, family) for kind, family in PAIRS if f"{kind}_{family}" not in OTHERS]
#: and CPS-Prompt needs ViTs that read their class token
PAIRS = [(kind, family) for kind, family in PAIRS if kind != "cps_prompt"]


@pytest.mark.parametrize(("kind", "family"), PAIRS)
def test_strategies_learn_on_other_vits(kind: str, family: str) -> None:
    scenario = "si_blurry" if learnable(kind, "si_blurry") else "mlcil"
    vit = family_vit(family, depth=2)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    if family == "siglip" and kind in ON_CLASS_TOKENS:
        with pytest.raises(InputError, match="class token, which this ViT does not have"):
            make(kind, scenario, backbone=vit, **TABLE[kind].two_blocks)
        return
    strategy = make(kind, scenario, backbone=vit, **TABLE[kind].two_blocks)
    first = {name: value.clone() for name, value in strategy.model.state_dict().items()}
    fit(strategy, experiences(scenario)[: None if strategy.whole_stream else 1])
    assert same(before, vit.state_dict())
    assert not same(first, strategy.model.state_dict())
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        together = strategy.model.eval()(images)
        alone = torch.cat([strategy.model(image[None]) for image in images])
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)


def counted(name: str) -> tuple[float, float]:
    """Forward passes of the ViT that an image costs with MVP, and for features of half its
    blocks."""
    with torch.device("meta"):
        model = timm.create_model(name, img_size=256, num_classes=0)
    vit = FrozenViT(model).to("meta")
    options = {"n_classes": 100, "device": torch.device("meta"), "evaluator": None}
    mvp = cls_of("mvp")(backbone=vit, **options).model.to("meta")
    images = torch.rand(2, 3, 256, 256, device="meta")
    costs = []
    for run in (mvp.run, vit.with_features("blocks:half")):
        vit.counter.reset()
        run(images)
        costs.append(vit.counter.macs / 2 / vit.forward_macs)
    return costs[0], costs[1]


def test_costs_are_those_of_a_plain_vit() -> None:
    plain = counted("vit_small_patch16_224")
    assert counted("vit_small_patch16_rope_224") == pytest.approx(plain, rel=0.01)
    # A mean behind the norms needs all patch tokens of the last block, MVP's query all but the last
    # layer of its MLP.
    assert counted("vit_small_patch16_dinov3") == pytest.approx((1.868, 1.0), abs=1e-3)
    assert counted("vit_base_patch16_gap_224") == pytest.approx((1.868, 1.0), rel=0.01)
    assert plain == pytest.approx((1.753, 0.930), abs=1e-3)
    # The pool is a part of a forward pass; each further block that is read adds one.
    assert counted("vit_base_patch16_siglip_224") == pytest.approx((1.897, 1.066), abs=1e-3)
