"""DualPrompt: a shared prefix, and one expert prefix per task."""

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.prompts.task_selectors import TaskSlots
from tests.strategies.shared import stream_batch
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make


@pytest.mark.parametrize("kind", ["dual_prompt", "s_prompt"])
def test_a_task_moves_its_own_slot_and_key_alone(kind: str) -> None:
    strategy = make(kind, "class_incremental")
    values = strategy.model.pools[-1].values
    key = strategy.model.selector.inner.key
    for t, experience in enumerate(experiences("class_incremental")):
        before = values.detach().clone(), key.detach().clone()
        fit(strategy, [experience])
        for old, new in zip(before, (values, key), strict=True):
            moved = (old != new).flatten(1).any(dim=1)
            assert moved.tolist() == [slot == t for slot in range(3)]


def test_without_boundaries_slots_choose_by_key() -> None:
    strategy = make("dual_prompt", online_iter=1)
    selector = strategy.model.selector
    assert isinstance(selector, TaskSlots)
    assert selector.inner.size == 10
    fit(strategy, experiences())
    assert strategy.tasks_started == 0
    assert selector.task == -1
    query = torch.randn(5, 16)
    assert torch.equal(selector.train()(query).index, selector.inner(query).index)
    assert selector.inner.count.sum() == strategy.samples_seen


def test_the_loss_is_cross_entropy_over_the_current_classes_minus_the_pull() -> None:
    strategy = make("dual_prompt", "class_incremental", pull_weight=0.7)
    fit(strategy, experiences("class_incremental")[:2])
    labels = torch.tensor([2, 3] * 4)
    batch = stream_batch(strategy, Blobs(8, seed=5).images, labels)
    output = strategy.model.run(batch.images)
    literal = F.cross_entropy(output.logits[:, 2:4], labels - 2) - 0.7 * output.selection.match
    torch.testing.assert_close(strategy.training_loss(output, batch), literal)
