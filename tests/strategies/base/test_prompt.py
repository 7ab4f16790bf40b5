"""What the prompt-pool strategies share: the class mask of the loss, and replay under it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.labels import classes_of
from tests.toy_data import ANNOUNCED, N_CLASSES, Blobs, experiences
from tests.toys import POOLS, cls_of, fit, learnable, make, same, watch, weights

#: those whose loss is over the classes of an announced task
TASK_AWARE = [kind for kind in POOLS if cls_of(kind).settings()["class_mask"].default == "current"]
every = pytest.mark.parametrize("kind", TASK_AWARE)


@pytest.mark.parametrize(
    ("kind", "scenario"),
    [
        (kind, scenario)
        for kind in TASK_AWARE
        for scenario in ANNOUNCED
        if learnable(kind, scenario)
    ],
)
def test_head_rows_of_other_classes_stay_as_they_are(kind: str, scenario: str) -> None:
    # An alignment of the head, between tasks, is over all classes.
    strategy, stream = make(kind, scenario, align_epochs=0), experiences(scenario)
    for experience in stream:
        before = weights(strategy)["head.weight"]
        fit(strategy, [experience])
        changed = (before != weights(strategy)["head.weight"]).any(dim=1)
        assert torch.equal(changed, classes_of(experience, N_CLASSES))


@every
def test_replayed_samples_compete_among_the_classes_of_their_own_task(kind: str) -> None:
    strategy = make(kind, "class_incremental", buffer_size=20, buffer_batch_size=8)
    seen: list[tuple[Tensor, Tensor]] = []

    def note(output: Any, batch: Batch) -> None:
        seen.append((batch.labels, batch.annotated.expand(len(batch.labels), -1)))

    watch(strategy, "training_loss", note)
    fit(strategy, experiences("class_incremental"))
    assert len(strategy.buffer) == 20
    for labels, annotated in seen:
        assert annotated.gather(1, labels[:, None]).all()
        assert (annotated.sum(dim=1) == 2).all()
    assert len(seen[-1][1][-8:].unique(dim=0)) > 1  # replayed samples of several tasks


@every
def test_a_sample_of_a_foreign_class_is_scored_over_the_classes_seen(kind: str) -> None:
    strategy, stream = make(kind, "class_incremental"), experiences("class_incremental")
    fit(strategy, stream[:2])
    labels = torch.tensor([2, 0])  # the second is of the task before
    columns = [Blobs(2, seed=5).images, labels]
    batch = Batch(columns, strategy.annotated, torch.zeros(0, dtype=torch.int64))
    output = strategy.model.run(batch.images)
    own, foreign = output.logits[0, 2:4], output.logits[1, :4]
    want = (own.logsumexp(0) - own[0] + foreign.logsumexp(0) - foreign[0]) / 2
    torch.testing.assert_close(strategy.label_loss(output.logits, batch), want)


@every
def test_the_pull_is_subtracted_by_its_weight(kind: str) -> None:
    strategy = make(kind, "class_incremental", pull_weight=0.3)
    fit(strategy, experiences("class_incremental")[:1])
    output = strategy.model.run(Blobs(4, seed=5).images)
    found = strategy.prompt_loss(output)
    if output.selection is None:
        assert found.item() == 0
    else:
        torch.testing.assert_close(found, -0.3 * output.selection.match)


@every
def test_prompts_are_drawn_anew_for_a_task_from_the_seed_alone(kind: str) -> None:
    states = []
    for noise in (0, 7):
        strategy = make(kind, "class_incremental")
        torch.rand(noise)
        random = torch.get_rng_state()
        for task in (1, 2):
            strategy.tasks_started = task
            strategy.start_task(torch.ones(N_CLASSES, dtype=torch.bool))
        assert torch.equal(random, torch.get_rng_state())
        states.append(weights(strategy))
    assert same(*states)
