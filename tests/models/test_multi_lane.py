"""MULTI-LANE as a model: lanes on demand, what moves and what must not, kept logits, state."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.multi_lane import MultiLaneViT
from tests.models.literal_lanes import multi_lane, open_random
from tests.toy_vits import tiny_vit

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(5))
TARGETS = torch.randint(0, 2, (6, 8), generator=torch.Generator().manual_seed(6)).float()
TASKS = ([0, 5], [1, 2], [7, 3, 4])


def model_of(n_lanes: int = 0, impl: str = "fused", **options: Any) -> MultiLaneViT:
    torch.manual_seed(2)
    options = {
        "n_selectors": 3,
        "prompt_length": 2,
        "prompted_blocks": (0, 2),
    } | options
    model = multi_lane(tiny_vit(), 8, impl, **options)
    for classes in TASKS[:n_lanes]:
        open_random(model, classes)
    return model


def train(model: MultiLaneViT, steps: int = 3, *, weight_decay: float = 0.1) -> None:
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=0.05, weight_decay=weight_decay)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model.run(IMAGES).logits
        if model.multi_label:
            loss = multi_label_loss(logits, TARGETS, model.columns())
        else:
            loss = F.cross_entropy(logits, torch.full((6,), int(model.lanes[-1].classes[0])))
        loss.backward()
        optimizer.step()
    model.eval()


@torch.no_grad()
def scores(model: MultiLaneViT) -> Tensor:
    return model.eval().run(IMAGES).logits


def test_classes_that_come_later_leave_the_others_alone() -> None:
    model = model_of(0)
    model.open_lane([4])
    train(model)
    before = scores(model)[:, 4]
    rows = model.lanes[0].heads[0].weight
    model.add_classes([6, 1])
    model.add_classes([])
    assert model.lanes[0].heads[0].weight is rows  # an optimizer keeps its state
    assert model.lanes[0].classes.tolist() == [4, 6, 1]
    assert model.columns().nonzero().flatten().tolist() == [1, 4, 6]
    assert model.seen.nonzero().flatten().tolist() == [1, 4, 6]
    assert torch.equal(scores(model)[:, 4], before)
    assert (scores(model)[:, [1, 6]] != 0).all()
    train(model)
    assert all(part.weight.abs().max() > 0.03 for part in model.lanes[0].heads)


def test_initial_scale() -> None:
    options = {"n_selectors": 20, "prompt_length": 20}
    for n_tasks, spread in ((None, 1.0), (4, 0.5)):
        model = model_of(0, n_tasks=n_tasks, **options)
        model.open_lane([0])
        lane = model.lanes[0]
        assert lane.selectors.norm().item() == pytest.approx(1, abs=1e-5)
        for block in lane.prompts:
            keys, values = block.flatten(1)
            assert keys.norm().item() == pytest.approx(spread, abs=1e-5)
            assert keys.std().item() == pytest.approx(spread / (20 * 16) ** 0.5, rel=0.01)
            assert (keys @ values).item() == pytest.approx(0, abs=1e-5)
        assert 0.005 < lane.heads[0].weight.std() < 0.05
        assert not lane.heads[0].bias.any()


def test_stamps_tell_when_a_lane_moved() -> None:
    model = model_of(2)
    before = model.cache_keys()
    scores(model)
    assert model.cache_keys() == before
    train(model, 1)
    after = model.cache_keys()
    assert after["lane0"] == before["lane0"]
    assert after["lane1"] != before["lane1"]
    model.open_lane(TASKS[2])
    assert {k: v for k, v in model.cache_keys().items() if k != "lane2"} == after
    opened = model.cache_keys()["lane2"]
    model.add_classes([6])
    assert model.cache_keys()["lane2"] != opened
    state = model.learned_state()
    moved = model.cache_keys()
    model.load_learned_state({k: v.clone() for k, v in state.items()})
    assert all(model.cache_keys()[k] != v for k, v in moved.items())


def test_before_the_first_lane() -> None:
    for multi_label, value in ((True, 0.0), (False, -torch.inf)):
        model = model_of(0, multi_label=multi_label)
        assert (scores(model) == value).all()
        assert model.needs_images([])
