"""The parameters of lanes: made on demand, frozen when finished, told apart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.models.multi_lane_parameters import Lane, LaneHead, LaneSet

SHAPE = (2, 2, 2, 3, 8)  # two blocks, keys and values, two heads, three prompts, width 8 a head
CPU = torch.device("cpu")


def lanes(*classes: list[int], copy_previous: bool = False) -> LaneSet:
    torch.manual_seed(0)
    made = LaneSet(4, SHAPE, 16)
    for own in classes:
        made.open(CPU, init="uniform", scale=1.0, copy_previous=copy_previous)
        made.add_head(own)
    return made


def test_only_the_last_lane_trains() -> None:
    made = lanes([0], [1])
    for parameter in made.lane(1).parameters():
        parameter.grad = torch.ones_like(parameter)
    made.open(CPU, init="uniform", scale=1.0, copy_previous=False)
    for i, lane in enumerate(made):
        assert {p.requires_grad for p in lane.parameters()} == {i == 2}
        assert all(p.grad is None for p in lane.parameters())  # none is left over


def test_a_copied_lane_has_the_prompts_of_the_one_before_and_no_classes() -> None:
    made = lanes([0])
    made.open(CPU, init="uniform", scale=1.0, copy_previous=True)
    first, second = made.lane(0), made.lane(1)
    assert torch.equal(first.selectors, second.selectors)
    assert torch.equal(first.prompts, second.prompts)
    assert first.selectors is not second.selectors
    assert second.classes.tolist() == []
    fresh = lanes([0], [1])
    assert not torch.equal(fresh.lane(0).selectors, fresh.lane(1).selectors)


def test_head_rows_keep_their_order_and_know_their_lane() -> None:
    made = lanes([4, 0], [2])
    made.add_head([1])
    assert made.lane(1).classes.tolist() == [2, 1]
    assert made.owners() == {4: 0, 0: 0, 2: 1, 1: 1}
    features = torch.randn(3, 16)
    literal = [F.linear(features, head.weight, head.bias) for head in made.lane(1).parts]
    assert torch.equal(made.lane(1).logits(features), torch.cat(literal, dim=1))
    assert Lane(4, SHAPE, 16).logits(features).shape == (3, 0)


def test_a_stamp_changes_with_every_write_and_new_row() -> None:
    made = lanes([0], [1])
    stamps = [lane.version() for lane in made]
    assert stamps[0] != stamps[1]
    with torch.no_grad():
        made.lane(0).selectors += 1
    assert made.lane(0).version() != stamps[0]
    made.add_head([5])
    assert made.lane(1).version() != stamps[1]
    assert lanes([0]).lane(0).version() != lanes([0]).lane(0).version()  # other tensors


def test_lanes_are_rebuilt_from_a_state() -> None:
    made = lanes([4, 0], [2])
    made.add_head([1, 3])
    state = {f"lanes.{name}": value for name, value in made.state_dict().items()}
    other = LaneSet(4, SHAPE, 16).like({**state, "seen": torch.zeros(6)}, CPU, "lanes.")
    assert [lane.classes.shape for lane in other] == [lane.classes.shape for lane in made]
    other.load_state_dict(made.state_dict())
    assert other.owners() == made.owners()


def test_lanes_without_prompts_have_no_such_parameter() -> None:
    for shape in ((0, 2, 2, 3, 8), (2, 2, 2, 0, 8)):
        assert Lane(4, shape, 16).prompts is None


def test_head_rows_begin_small() -> None:
    torch.manual_seed(0)
    made = LaneSet(4, SHAPE, 256)
    made.open(CPU, init="uniform", scale=1.0, copy_previous=False)
    head = made.add_head(range(50))
    assert isinstance(head, LaneHead)
    assert head.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not head.bias.any()
