"""MULTI-LANE: when lanes open, and that finished ones never move."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.strategies.shared import stream_batch
from tests.toy_data import Blobs, Scenes, experiences
from tests.toys import fit, make


def test_an_announced_task_opens_a_lane_for_its_new_classes() -> None:
    stream = experiences("mlcil")
    model = fit(make("multi_lane", "mlcil"), stream).model
    for i, experience in enumerate(stream):
        own = set(model.lanes[i].classes.tolist())
        assert own == experience.classes_in_this_experience
    finished = [p for lane in model.lanes[:-1] for p in lane.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in finished)
    blurry = experiences("si_blurry_multi_label")
    announced = fit(make("multi_lane", "si_blurry_multi_label", boundaries=True), blurry)
    new = [e.classes_in_this_experience - e.previous_classes for e in blurry]
    assert announced.model.n_lanes == sum(map(bool, new))


def test_a_lane_is_full_after_its_samples_and_not_before() -> None:
    strategy = make("multi_lane", lane_samples=24)
    lanes = []
    for samples, label in ((0, 0), (23, 1), (24, 2), (47, 3), (48, 4)):
        state = strategy.state_dict()
        strategy = make("multi_lane", lane_samples=24)
        strategy.load_state_dict(state)  # a run that is resumed knows when its lane was opened
        strategy.samples_seen = samples
        strategy.observe_classes(torch.tensor([label, 0]))
        lanes.append(strategy.model.n_lanes)
    assert lanes == [1, 1, 2, 2, 3]
    owners = strategy.model.lane_of
    assert owners == {0: 0, 1: 0, 2: 1, 3: 1, 4: 2}  # a class stays with its lane


def test_samples_of_another_lane_have_no_say() -> None:
    strategy = make("multi_lane", "class_incremental")
    fit(strategy, experiences("class_incremental")[:2])
    labels = torch.tensor([2, 0, 3, 1])  # 0 and 1 are the first lane's
    batch = stream_batch(strategy, Blobs(4, seed=5).images, labels)
    output = strategy.model.train().run(batch.images)
    own = [0, 2]
    want = F.cross_entropy(output.logits[own][:, 2:4], labels[own] - 2)
    torch.testing.assert_close(strategy.training_loss(output, batch), want)


@pytest.mark.parametrize("norm", ["current", "all"])
def test_the_multi_label_loss_is_over_the_lanes_annotated_classes(norm: Any) -> None:
    strategy = make("multi_lane", "mlcil", loss_norm=norm)
    fit(strategy, experiences("mlcil")[:2])
    targets = torch.from_numpy(Scenes(4, seed=5).targets).float()
    batch = stream_batch(strategy, Scenes(4, seed=5).images, targets)
    output = strategy.model.train().run(batch.images)
    lane = F.binary_cross_entropy_with_logits(output.logits[:, 2:4], targets[:, 2:4])
    found = strategy.training_loss(output, batch)
    offset = 4 / 6 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(found, lane if norm == "current" else lane * 2 / 6 + offset)


def test_lanes_let_the_classes_of_the_batch_compete() -> None:
    strategy = make("multi_lane", class_mask="batch")
    strategy.observe_classes(torch.tensor([0, 1, 2]))
    strategy.samples_seen = 1000
    strategy.observe_classes(torch.tensor([3, 4, 5]))
    for labels, want in (([3, 5, 0], [3, 5]), ([0, 1, 0], [])):
        batch = stream_batch(strategy, Blobs(3, seed=5).images, torch.tensor(labels))
        strategy.model.zero_grad()
        loss = strategy.training_loss(strategy.training_output(batch), batch)
        loss.backward()
        assert loss.isfinite()
        assert (loss.item() > 0) == bool(want)
        grads = [head.weight.grad for head in strategy.model.lanes[1].heads]
        moved = torch.cat(grads).any(dim=1).tolist()
        assert moved == [c in want for c in (3, 4, 5)]
