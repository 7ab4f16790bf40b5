"""What prompt strategies share: the class mask of the loss, the pull, starts of tasks, rates."""

from typing import Any

import pytest
import torch

from cl_prompts.strategies import HeadAlignment
from cl_prompts.strategies.base.experience import classes_of
from tests.strategies.shared import stream_batch
from tests.toy_data import N_CLASSES, Blobs, experiences
from tests.toys import fit, make, weights

#: of those whose loss is over the classes of an announced task, one of each way to choose prompts
TASK_AWARE = ("l2p", "coda_prompt", "s_prompt", "vq_prompt", "hide_prompt")
every = pytest.mark.parametrize("kind", TASK_AWARE)


@pytest.mark.parametrize(
    ("kind", "scenario"),
    [("l2p", "mlcil"), ("l2p", "domain_incremental")]
    + [(kind, "class_incremental") for kind in TASK_AWARE],
)
def test_head_rows_of_other_classes_stay_as_they_are(kind: str, scenario: str) -> None:
    # An alignment of the head, between tasks, is over all classes.
    strategy = make(kind, scenario, plugins=[HeadAlignment(epochs=0)], online_iter=1)
    for experience in experiences(scenario):
        before = weights(strategy)["head.weight"]
        fit(strategy, [experience])
        changed = (before != weights(strategy)["head.weight"]).any(dim=1)
        assert torch.equal(changed, classes_of(experience, N_CLASSES))


@every
def test_a_sample_of_a_foreign_class_is_scored_over_the_classes_seen(kind: str) -> None:
    strategy = make(kind, "class_incremental")
    fit(strategy, experiences("class_incremental")[:2])
    labels = torch.tensor([2, 0])  # the second is of the task before
    batch = stream_batch(strategy, Blobs(2, seed=5).images, labels)
    output = strategy.model.run(batch.images)
    own = output.logits[0, 2:4]
    foreign = output.logits[1, :4]
    want = (own.logsumexp(0) - own[0] + foreign.logsumexp(0) - foreign[0]) / 2
    torch.testing.assert_close(strategy.label_loss(output.logits, batch), want)


@pytest.mark.parametrize(
    ("kind", "changes", "copied"),
    [
        ("dual_prompt", {}, [True, False]),
        ("s_prompt", {}, [False, False]),
        ("s_prompt", {"copy_previous": True}, [True, False]),
        ("l2p", {"key_choice": "slots"}, [True, False]),
        ("l2p", {"key_choice": "slots", "copy_keys": True}, [True, True]),
    ],
)
def test_a_task_starts_with_copies_of_earlier_prompts_and_keys_where_asked(
    kind: str, changes: dict[str, Any], copied: list[bool]
) -> None:
    strategy = make(kind, "class_incremental", **changes)
    fit(strategy, experiences("class_incremental")[:1])
    strategy.tasks_started = 2
    strategy.start_task(torch.ones(N_CLASSES, dtype=torch.bool))
    n = strategy.model.selector.inner.k  # entries of a task
    rows = (strategy.model.pools[-1].values, strategy.model.selector.inner.key)
    assert [torch.equal(x[n : 2 * n], x[:n]) for x in rows] == copied


def rates(strategy: Any) -> dict[str, float]:
    groups = strategy.optimizer.param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    return {n: rate[id(p)] for n, p in strategy.model.named_parameters() if p.requires_grad}


#: one of each class that a method derives from, and those that group their parameters themselves
RATED = ("mvp", "multi_lane", "l2p", "single_prompt", "flyprompt", "hide_prompt")


@pytest.mark.parametrize("kind", RATED)
def test_prompts_have_a_rate_of_their_own_also_those_of_later_tasks(kind: str) -> None:
    settings = {"lr": 1e-3, "prompt_lr": 0.5, "schedule": "constant", "online_iter": 1}
    strategy = make(kind, "class_incremental", **settings)
    for experience in experiences("class_incremental"):
        fit(strategy, [experience])
        found = rates(strategy)
        for name, rate in found.items():
            if name.startswith("selector.classifier."):
                continue  # which has a rate of its own
            head = name.startswith(("head.", "logit_mask.")) or ".heads." in name
            assert rate == (1e-3 if head else 0.5), name
        assert {1e-3, 0.5} <= set(found.values())


def test_a_schedule_multiplies_each_rate() -> None:
    strategy = make("one_prompt", lr=1e-3, prompt_lr=0.1, schedule="cosine", train_epochs=2)
    strategy.clock.train_exp_epochs = 1
    strategy.set_learning_rate()
    assert [g["lr"] for g in strategy.optimizer.param_groups] == pytest.approx([5e-4, 0.05])
