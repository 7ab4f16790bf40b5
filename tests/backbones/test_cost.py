"""Formulas of cost against torch's own counter, and the counter against the formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import GluMlp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.cost import PassCounter, ViTShape
from tests.toy_vits import tiny_vit

SHAPE = ViTShape.of(tiny_vit().vit)


def test_the_shape_is_read_from_the_vit() -> None:
    assert (SHAPE.depth, SHAPE.dim, SHAPE.width, SHAPE.hidden) == (4, 16, 16, 64)
    assert (SHAPE.n_tokens, SHAPE.n_patches, SHAPE.patch_values) == (5, 4, 3 * 8 * 8)
    registers = ViTShape.of(tiny_vit(reg_tokens=3).vit)
    assert (registers.n_tokens, registers.n_patches) == (8, 4)


@pytest.mark.parametrize("further", [{}, {"mlp_layer": GluMlp}])
def test_the_unit_is_one_plain_forward(further: dict[str, Any]) -> None:
    vit = tiny_vit(**further).vit
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops, torch.no_grad():
        vit.forward_features(torch.rand(1, 3, 16, 16))
    assert ViTShape.of(vit).forward_macs == pytest.approx(flops.get_total_flops() / 2)


def test_a_block_with_prompts_costs_its_parts() -> None:
    n = 5
    context = 3
    prefix = 2
    projections = n * 2 * 16 * 16 + (n + context) * 2 * 16 * 16
    attention = 2 * n * (n + context + prefix) * 16
    assert SHAPE.block_macs(n, context, prefix) == projections + attention + n * 2 * 16 * 64
    one = SHAPE.block_macs(n, context, prefix, queries=1)  # the class token alone asks
    assert one == 2 * 16 * 16 + 8 * 2 * 16 * 16 + 2 * 10 * 16 + 2 * 16 * 64


def test_passes_add_up() -> None:
    counter = PassCounter(SHAPE)
    counter.embed(3)
    for _ in range(4):
        counter.block(3, 5)
    assert (counter.images, counter.blocks) == (3, 12)
    assert counter.macs == pytest.approx(3 * SHAPE.forward_macs)
    counter.reset()
    assert (counter.images, counter.blocks, counter.macs) == (0, 0, 0)


@pytest.mark.parametrize("queries", [None, 1])
def test_a_projection_made_before_is_not_counted_again(queries: int | None) -> None:
    apart = PassCounter(SHAPE)
    whole = PassCounter(SHAPE)
    apart.block(2, 5, queries=queries, projected=True)
    whole.block(2, 5, queries=queries)
    saved = ((5 if queries is None else queries) + 2 * 5) * 16 * 16
    assert whole.macs - apart.macs == 2 * saved
    apart.reset()
    apart.project(2, 5)
    assert apart.macs == 2 * 5 * 3 * 16 * 16
    assert apart.blocks == 0


def test_slots_are_free_unless_they_evolve() -> None:
    assert SHAPE.slot_table_macs(7) == 3 * 7 * 2 * 16 * 64
