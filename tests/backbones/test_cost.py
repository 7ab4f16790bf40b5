"""Formulas of cost against torch's own counter, and the counter against the formulas."""

from typing import Any

import pytest
import torch
from timm.layers import GluMlp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.cost import ViTShape
from tests.toy_vits import tiny_vit

SHAPE = ViTShape.of(tiny_vit().vit)


@pytest.mark.parametrize("further", [{}, {"mlp_layer": GluMlp}])
def test_the_unit_is_one_plain_forward(further: dict[str, Any]) -> None:
    vit = tiny_vit(**further).vit
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops, torch.no_grad():
        vit.forward_features(torch.rand(1, 3, 16, 16))
    assert ViTShape.of(vit).forward_macs == pytest.approx(flops.get_total_flops() / 2)
