"""Formulas of cost against torch's own counter, and the counter against the formulas."""

from typing import Any

import pytest
import torch
from timm.layers import GluMlp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.cost import PassCounter, ViTShape
from tests.toy_vits import tiny_vit

SHAPE = ViTShape.of(tiny_vit().vit)


@pytest.mark.parametrize("further", [{}, {"mlp_layer": GluMlp}])
def test_the_unit_is_one_plain_forward(further: dict[str, Any]) -> None:
    vit = tiny_vit(**further).vit
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops, torch.no_grad():
        vit.forward_features(torch.rand(1, 3, 16, 16))
    assert ViTShape.of(vit).forward_macs == pytest.approx(flops.get_total_flops() / 2)


def test_passes_add_up() -> None:
    counter = PassCounter(SHAPE)
    counter.embed(3)
    for _ in range(4):
        counter.block(3, 5)
    assert (counter.images, counter.blocks) == (3, 12)
    assert counter.macs == pytest.approx(3 * SHAPE.forward_macs)
    counter.reset()
    assert (counter.images, counter.blocks, counter.macs) == (0, 0, 0)
