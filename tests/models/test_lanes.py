"""Lanes: their head rows, and passes side by side as one by one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.models.lanes import Lane, LanePasses, LaneSet
from tests.models.literal_lanes import LiteralPasses
from tests.toy_vits import tiny_vit

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))
BLOCKS = (0, 2)
SHAPE = (2, 2, 2, 3, 8)  # two blocks, keys and values, two heads, three prompts, width 8 a head


def lanes_of(n: int, *, prompt_length: int = 2) -> list[Lane]:
    torch.manual_seed(2)
    lanes = [Lane(3, (len(BLOCKS), 2, 2, prompt_length, 8), 16) for _ in range(n)]
    for lane in lanes:
        lane.initialise("uniform", 1.0)
    return lanes


@pytest.mark.parametrize("prompt_length", [0, 2])
@pytest.mark.parametrize("kind", [LanePasses, LiteralPasses])
def test_lanes_do_not_see_each_other(kind: type[LanePasses], prompt_length: int) -> None:
    passes = kind(tiny_vit(), BLOCKS)
    lanes = lanes_of(3, prompt_length=prompt_length)
    together = passes(IMAGES, lanes)
    for i in (2, 0, 1):
        torch.testing.assert_close(passes(IMAGES, [lanes[i]])[:, 0], together[:, i])
    assert not torch.allclose(together[:, 0], together[:, 1])


def test_head_rows_keep_their_order_and_know_their_lane() -> None:
    made = LaneSet(3, SHAPE, 16)
    for own in ([4, 0], [2]):
        made.open(torch.device("cpu"), init="uniform", scale=1.0, copy_previous=False)
        made.add_head(own)
    made.add_head([1])
    assert made.lane(1).classes.tolist() == [2, 1]
    assert made.owners() == {4: 0, 0: 0, 2: 1, 1: 1}
    features = torch.randn(3, 16)
    literal = [F.linear(features, head.weight, head.bias) for head in made.lane(1).parts]
    assert torch.equal(made.lane(1).logits(features), torch.cat(literal, dim=1))
    assert Lane(3, SHAPE, 16).logits(features).shape == (3, 0)
