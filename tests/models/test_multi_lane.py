"""MULTI-LANE as a model: lanes on demand, what moves and what must not, kept logits, state."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.multi_lane import MultiLaneViT
from tests.toy_vits import tiny_vit
from tests.toys import watch

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(5))
TARGETS = torch.randint(0, 2, (6, 8), generator=torch.Generator().manual_seed(6)).float()
TASKS = ([0, 5], [1, 2], [7, 3, 4])


def model_of(n_lanes: int = 0, **options: Any) -> MultiLaneViT:
    torch.manual_seed(2)
    options = {
        "n_selectors": 3,
        "prompt_length": 2,
        "prompted_blocks": (0, 2),
        "init": "uniform",
    } | options
    model = MultiLaneViT(tiny_vit(), 8, **options)
    for classes in TASKS[:n_lanes]:
        model.open_lane(classes, copy_previous=False)
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
            loss = F.cross_entropy(logits, torch.full((6,), int(model.lanes.lane(-1).classes[0])))
        loss.backward()
        optimizer.step()
    model.eval()


@torch.no_grad()
def scores(model: MultiLaneViT) -> Tensor:
    return model.eval().run(IMAGES).logits


# -------------------------------------------------------------------------------------------------
# lanes and their classes


@pytest.mark.parametrize("multi_label", [True, False])
def test_finished_lanes_never_change(multi_label: bool) -> None:
    model = model_of(multi_label=multi_label)
    backbone = copy.deepcopy(model.backbone.state_dict())
    kept: list[tuple[dict[str, Tensor], Tensor, Tensor]] = []
    for classes in TASKS:
        model.open_lane(classes)
        start = copy.deepcopy(model.lanes.lane(-1).state_dict())
        train(model)
        assert all(
            not torch.equal(start[k], v)
            for k, v in model.lanes.lane(-1).state_dict().items()
            if "classes" not in k
        )
        for i, (state, columns, logits) in enumerate(kept):
            assert all(
                torch.equal(state[k], v) for k, v in model.lanes.lane(i).state_dict().items()
            )
            assert not any(
                p.requires_grad or p.grad is not None for p in model.lanes.lane(i).parameters()
            )
            torch.testing.assert_close(scores(model)[:, columns], logits, atol=1e-6, rtol=0)
        columns = model.columns()
        kept.append(
            (copy.deepcopy(model.lanes.lane(-1).state_dict()), columns, scores(model)[:, columns])
        )
    assert all(torch.equal(v, model.backbone.state_dict()[k]) for k, v in backbone.items())
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_classes_that_come_later_leave_the_others_alone() -> None:
    model = model_of(0)
    model.open_lane([4])
    train(model)
    before = scores(model)[:, 4]
    rows = model.lanes.lane(0).parts[0].weight
    model.add_classes([6, 1])
    model.add_classes([])
    assert model.lanes.lane(0).parts[0].weight is rows  # an optimizer keeps its state
    assert model.lanes.lane(0).classes.tolist() == [4, 6, 1]
    assert model.columns().nonzero().flatten().tolist() == [1, 4, 6]
    assert model.seen.nonzero().flatten().tolist() == [1, 4, 6]
    assert torch.equal(scores(model)[:, 4], before)
    assert (scores(model)[:, [1, 6]] != 0).all()
    train(model)
    assert all(part.weight.abs().max() > 0.03 for part in model.lanes.lane(0).parts)


def test_initial_scale() -> None:
    options = {"init": "orthogonal", "n_selectors": 20, "prompt_length": 20}
    for n_tasks, spread in ((None, 1.0), (4, 0.5)):
        model = model_of(0, n_tasks=n_tasks, **options)
        model.open_lane([0])
        lane = model.lanes.lane(0)
        assert lane.selectors.norm().item() == pytest.approx(1, abs=1e-5)
        for block in lane.prompts:
            keys, values = block.flatten(1)
            assert keys.norm().item() == pytest.approx(spread, abs=1e-5)
            assert keys.std().item() == pytest.approx(spread / (20 * 16) ** 0.5, rel=0.01)
            assert (keys @ values).item() == pytest.approx(0, abs=1e-5)
        assert 0.005 < lane.parts[0].weight.std() < 0.05
        assert not lane.parts[0].bias.any()
    uniform = model_of(1).lanes.lane(0)
    assert uniform.selectors.abs().max() <= 1
    assert uniform.prompts.std().item() == pytest.approx(3**-0.5, rel=0.2)


# ------------------------------------------------------------------------------------------- passes


def lane_passes(model: MultiLaneViT) -> list[int]:
    """Images times lanes of each pass from now on."""
    passes: list[int] = []
    watch(model, "lane_features", lambda images, lanes=(): passes.append(len(images) * len(lanes)))
    return passes


def test_training_runs_one_lane_and_evaluation_all() -> None:
    model = model_of(3, multi_label=False)
    passes = lane_passes(model)
    output = model.train().run(IMAGES)
    assert passes == [6]
    assert (output.logits > -torch.inf).any(0).tolist() == model.columns().tolist()
    assert output.features.shape == (6, 16)
    assert output.cacheable == {}
    output = model.eval().run(IMAGES)
    assert passes == [6, 18]
    assert (
        (output.logits > -torch.inf).any(0).tolist()
        == model.seen.tolist()
        == [i != 6 for i in range(8)]
    )
    two = model.lane_features(IMAGES, [2, 0])
    torch.testing.assert_close(two, model.lane_features(IMAGES)[:, [2, 0]], atol=1e-6, rtol=0)


@pytest.mark.parametrize("impl", ["fused", "literal"])
@torch.no_grad()
def test_kept_logits_are_exact_and_save_passes(impl: str) -> None:
    model = model_of(3, impl=impl).eval()
    first = model.run(IMAGES)
    assert {name: logits.shape[1] for name, logits in first.cacheable.items()} == {
        "lane0": 2,
        "lane1": 2,
        "lane2": 3,
    }
    passes = lane_passes(model)
    some = {name: first.cacheable[name] for name in ("lane0", "lane1")}
    assert model.needs_images(some)
    second = model.run(IMAGES, some)
    assert passes == [6]
    torch.testing.assert_close(second.logits, first.logits, atol=1e-6, rtol=0)
    assert second.cacheable["lane0"] is some["lane0"]
    torch.testing.assert_close(second.features, first.features, atol=1e-6, rtol=0)
    model.backbone.counter.reset()
    assert not model.needs_images(first.cacheable)
    third = model.run(None, first.cacheable)
    assert torch.equal(third.logits, first.logits)
    assert third.features.shape == (6, 0)
    assert passes == [6]
    assert model.backbone.counter.images == 0


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
        for call in (lambda m=model: m.train().run(IMAGES), lambda m=model: m.add_classes([1])):
            with pytest.raises(InputError, match="no lane is open"):
                call()


def test_an_open_lane_without_classes_trains_nothing_but_works() -> None:
    model = model_of(0)
    model.open_lane()
    assert not scores(model).any()
    assert not model.train().run(IMAGES).logits.any()
    model.add_classes([3])
    assert model.run(IMAGES).logits[:, 3].all()


# -------------------------------------------------------------------------------------------- state


def test_round_trip_after_two_of_three_tasks(tmp_path: Path) -> None:
    first = model_of(1)
    train(first)
    first.open_lane([1])
    first.add_classes([2])
    train(first)
    first.save(tmp_path / "model.safetensors")
    second = model_of(0)
    random = torch.get_rng_state()
    second.load(tmp_path / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(scores(second), scores(first))
    assert [lane.classes.tolist() for lane in second.lanes] == [[0, 5], [1, 2]]
    assert [p.requires_grad for p in second.lanes.parameters()] == [
        p.requires_grad for p in first.lanes.parameters()
    ]
    for model in (first, second):
        torch.manual_seed(9)
        model.open_lane(TASKS[2])
        train(model)
    assert torch.equal(scores(second), scores(first))
    model_of(2).load_learned_state(second.learned_state())  # fewer lanes than the state has


def test_loading_into_the_same_lanes_keeps_the_parameters() -> None:
    model = model_of(2)
    other = model_of(2)
    parameters = list(model.parameters())
    train(other)
    model.load_learned_state(other.learned_state())
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(scores(model), scores(other))


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    model = model_of(2)
    before = scores(model)
    for other in (model_of(3, n_selectors=4), model_of(1, prompt_length=0)):
        with pytest.raises(InputError, match="the saved state does not fit this model"):
            model.load_learned_state(other.learned_state())
    state = model_of(3).learned_state()
    del state["lanes.1.selectors"]
    with pytest.raises(InputError, match="does not fit"):
        model.load_learned_state(state)
    assert torch.equal(scores(model), before)


# ---------------------------------------------------------------------------------------- bad input
