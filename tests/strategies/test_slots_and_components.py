"""What is special to a prompt pool: slots of tasks, growing components, multi-label streams,
settings that are refused."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.components import GrowingRows
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_selectors import FrequencyPenalty, TaskSlots
from tests.conftest import Blobs, tiny_vit
from tests.strategies.prompt_kinds import (
    KINDS,
    blurry,
    make,
    state,
    tasks,
    train,
    unannounced,
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ------------------------------------------------------------------------------------------------
# slots (DualPrompt)


@pytest.mark.parametrize("kind", ["dual_prompt", "s_prompt"])
def test_a_task_moves_its_own_slot_and_key_alone(kind: str) -> None:
    strategy, experiences = make(kind), tasks()
    values, key = strategy.model.pools[-1].values, strategy.model.selector.inner.key
    for t, experience in enumerate(experiences):
        before = values.detach().clone(), key.detach().clone()
        train(strategy, [experience])
        for old, new in zip(before, (values, key), strict=True):
            moved = (old != new).flatten(1).any(dim=1)
            assert moved.tolist() == [slot == t for slot in range(3)]


@pytest.mark.parametrize(
    ("kind", "changes", "copied"),
    [
        ("dual_prompt", {}, [True, False]),
        ("s_prompt", {}, [False, False]),
        ("s_prompt", {"copy_previous": True}, [True, False]),
        ("l2p", {"selection": "slots"}, [True, False]),
        ("l2p", {"selection": "slots", "copy_keys": True}, [True, True]),
    ],
)
def test_a_slot_begins_as_the_one_before(
    kind: str, changes: dict[str, Any], copied: list[bool]
) -> None:
    strategy = train(make(kind, **changes), tasks()[:1])
    k = 2 if kind == "l2p" else 1
    values, key = strategy.model.pools[-1].values, strategy.model.selector.inner.key
    strategy.tasks_started = 2
    strategy.start_task(torch.ones(6, dtype=torch.bool))
    assert [torch.equal(x[k : 2 * k], x[:k]) for x in (values, key)] == copied


def test_without_boundaries_slots_choose_by_key() -> None:
    strategy = unannounced("dual_prompt")
    selector = strategy.model.selector
    assert isinstance(selector, TaskSlots)
    assert selector.inner.size == 10
    train(strategy, blurry())
    assert strategy.tasks_started == 0
    assert selector.task == -1
    query = torch.randn(5, 16)
    assert torch.equal(selector.train()(query).index, selector.inner(query).index)
    assert selector.inner.count.sum() == strategy.samples_seen


def test_usage_is_counted_once_per_image_and_prompt() -> None:
    strategy = train(make("l2p"), tasks())
    assert cast(NearestKeys, strategy.model.selector).count.sum() == 2 * strategy.samples_seen
    diverse = train(make("l2p", selection="diverse"), tasks())
    assert isinstance(diverse.model.selector, FrequencyPenalty)
    assert diverse.model.selector.frequency.sum() == pytest.approx(1)
    assert diverse.model.selector.frequency.std() > 0


# ------------------------------------------------------------------------------------------
# components (CODA-Prompt)


def growing(model: nn.Module) -> list[GrowingRows]:
    return [module for module in model.modules() if isinstance(module, GrowingRows)]


def test_components_of_earlier_tasks_never_move() -> None:
    strategy = make("coda_prompt", new_optimizer=False)
    strategy.optimizer = torch.optim.AdamW(
        [p for p in strategy.model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.5
    )
    experiences, fixed = tasks(), []
    for t, experience in enumerate(experiences):
        train(strategy, [experience])
        for rows in growing(strategy.model):
            assert [bool(part.any()) for part in rows.rows] == [i <= t for i in range(3)]
        fixed.append([rows.rows[t].detach().clone() for rows in growing(strategy.model)])
    for t in (0, 1):
        assert all(
            torch.equal(a, rows.rows[t])
            for a, rows in zip(fixed[t], growing(strategy.model), strict=True)
        )


def test_components_to_come_do_not_matter() -> None:
    strategy, images = train(make("coda_prompt"), tasks()[:2]), Blobs(6, 6, seed=7).images
    model = strategy.model.eval()
    before = model(images)
    with torch.no_grad():
        for rows in growing(model):
            rows.rows[2].normal_()
    assert torch.equal(model(images), before)


def test_without_boundaries_all_components_train_from_the_start() -> None:
    strategy = unannounced("coda_prompt")
    before = [rows().clone() for rows in growing(strategy.model)]
    assert all(rows.shape[1] == 9 for rows in before)
    train(strategy, blurry())
    for old, rows in zip(before, growing(strategy.model), strict=True):
        assert (old != rows()).flatten(2).any(dim=2).all()


def test_components_need_to_know_the_tasks_and_only_where_there_are_some() -> None:
    with pytest.raises(InputError, match="does not know how many come: give n_tasks"):
        train(unannounced("coda_prompt"), tasks())
    with pytest.raises(InputError, match="no task is announced here"):
        train(make("coda_prompt"), blurry())
    train(unannounced("coda_prompt", boundaries=False), tasks()[:1])
    train(make("coda_prompt", boundaries=True), blurry())
    with pytest.raises(InputError, match="task 3 has no components"):
        train(make("coda_prompt"), tasks(6))


def test_the_penalty_keeps_components_orthogonal() -> None:
    def departure(mu: float) -> float:
        strategy = train(make("coda_prompt", mu=mu), tasks())
        rows = strategy.model.selector.key().detach()
        return float((rows @ rows.transpose(1, 2) - torch.eye(rows.shape[1])).square().mean())

    assert departure(10.0) < 0.5 * departure(0.0)


def test_a_later_task_draws_the_same_components_whatever_else_is_random() -> None:
    drawn = []
    for noise in (0, 5):
        strategy = make("coda_prompt")
        torch.rand(noise)
        before = torch.get_rng_state()
        strategy.tasks_started = 1
        for _ in range(2):
            strategy.start_task(torch.ones(6, dtype=torch.bool))
            strategy.tasks_started += 1
        assert torch.equal(before, torch.get_rng_state())
        drawn.append([rows.rows[1].clone() for rows in growing(strategy.model)])
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))


# ------------------------------------------------------------------------------------------------
# multi-label, bad input


class Scenes(Blobs):
    """Blobs with one or two labels."""

    def __init__(self, n: int, n_classes: int, *, seed: int = 0) -> None:
        super().__init__(n, n_classes, seed=seed)
        first = self.targets
        self.targets = torch.zeros(n, n_classes, dtype=torch.uint8).numpy()
        self.targets[range(n), first] = 1
        self.targets[range(0, n, 2), (first[::2] + 1) % n_classes] = 1

    def __getitem__(self, index: int) -> Any:
        return self.images[index], torch.from_numpy(self.targets[index]).float()


def test_multi_label_streams(kind: str) -> None:
    from cl_prompts.scenarios import mlcil_benchmark

    stream = list(
        mlcil_benchmark(
            Scenes(96, 6, seed=1), Scenes(48, 6, seed=2), base=0, increment=2
        ).train_stream
    )
    strategy = make(kind, multi_label=True)
    assert strategy.model.multi_label
    train(strategy, stream[:1])
    before = state(strategy)["head.weight"]
    train(strategy, stream[1:])
    after = state(strategy)["head.weight"]
    current = list(stream[0].classes_in_this_experience)
    assert torch.equal(before[current], after[current])
    assert strategy.model.seen.all()


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("l2p", {"top_k": 5}, "top_k is 5: it must be between 1 and pool_size, which is 4"),
        ("l2p", {"prompt_length": 0}, "prompt_length is 0"),
        ("l2p", {"selection": "slot"}, "unknown selection 'slot': did you mean 'slots'"),
        ("l2p", {"copy_keys": True}, "copy_keys copies keys from slot to slot"),
        ("l2p", {"initial": "gauss"}, "unknown initial distribution 'gauss'"),
        (
            "l2p",
            {"batchwise_prompt": "trainin"},
            "unknown batchwise_prompt 'trainin': did you mean 'training'",
        ),
        ("l2p", {"pull_weight": -1.0}, "pull_weight is -1.0"),
        ("dual_prompt", {"class_mask": "sen"}, "unknown class_mask 'sen': did you mean 'seen'"),
        (
            "dual_prompt",
            {"e_blocks": (4,)},
            "e_blocks holds block 4, but this ViT has blocks 0 to 3",
        ),
        ("dual_prompt", {"g_blocks": (1, 1)}, "a block is there twice"),
        ("dual_prompt", {"g_length": 0}, "g_length is 0"),
        ("dual_prompt", {"pool_size": 0}, "pool_size is 0"),
        ("l2p", {"pull_weight": float("nan")}, "pull_weight is nan"),
        (
            "coda_prompt",
            {"prompt_length": 3},
            "prompt_length is 3: half of a component's rows are keys",
        ),
        (
            "coda_prompt",
            {"n_tasks": 10},
            "n_components is 9: it must be at least 10, one for each task",
        ),
        ("coda_prompt", {"n_tasks": 0}, "n_tasks is 0"),
        (
            "coda_prompt",
            {"n_components": -3, "n_tasks": None},
            "n_components is -3: it must be at least 1",
        ),
        (
            "coda_prompt",
            {"n_components": 30},
            "n_components is 30: no more than the ViT's width, 16, can be orthogonal",
        ),
        ("coda_prompt", {"mu": -0.1}, "mu is -0.1"),
        ("coda_prompt", {"mu": float("nan")}, "mu is nan"),
        ("coda_prompt", {"prompted_blocks": ()}, "prompted_blocks is empty"),
        ("one_prompt", {"prompt_length": 0}, "prompt_length is 0"),
    ],
)
def test_bad_settings_are_refused(kind: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make(kind, **changes)
    with pytest.raises(InputError, match="either model= or both"):
        KINDS[kind][0](n_classes=3)


def test_a_model_may_be_given(kind: str) -> None:
    model = cast(PromptedViT, make(kind, backbone=tiny_vit()).model)
    strategy = KINDS[kind][0](model=model, device="cpu", evaluator=None, train_epochs=1)
    assert train(strategy, tasks()[:1]).model is model
