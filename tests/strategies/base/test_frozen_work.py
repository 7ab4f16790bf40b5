"""Frozen work of training passes that is done once for each view."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.strategies.base import frozen_work
from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.frozen_work import FrozenWork
from tests.toy_data import experiences
from tests.toy_vits import DEPTH, tiny_vit
from tests.toys import TABLE, close, fit, make, same, weights

TWICE = {"train_epochs": 2, "online_iter": 2}


def blocks(strategy: Any) -> int:
    return strategy.model.backbone.counter.blocks


@pytest.mark.parametrize(
    ("kind", "first", "later"),
    [
        ("linear_probe", DEPTH, 0),
        ("mvp", 2 * DEPTH - 1, DEPTH),
        ("l2p", 2 * DEPTH, DEPTH),
        ("one_prompt", DEPTH, DEPTH),
    ],
)
def test_frozen_work_is_done_once_for_each_view(kind: str, first: int, later: int) -> None:
    """Counted on four passes over each sample: two epochs with two updates each."""
    again, anew = (
        fit(make(kind, views=views, buffer_size=0, period=None, **TWICE), experiences())
        for views in (1, None)
    )
    n = anew.samples_seen // 2
    assert blocks(anew) == 4 * n * first
    assert blocks(again) == n * (first + 3 * later)
    assert again.frozen_work.reused == (3 * n if later < first else 0)
    close(weights(again), weights(anew))


@pytest.mark.parametrize(
    "kind", [kind for kind in TABLE if kind in ("er", "derpp", "lwf", "mvp_r")]
)
def test_replayed_samples_are_known_by_experience_and_row(kind: str) -> None:
    again, anew = (fit(make(kind, views=views), experiences()) for views in (1, None))
    close(weights(again), weights(anew))
    assert blocks(again) < blocks(anew)


def test_each_of_several_views_is_computed_once() -> None:
    strategy = make("linear_probe", views=2, train_epochs=3, online_iter=1)
    fit(strategy, experiences())
    n = strategy.samples_seen // 3
    assert blocks(strategy) == 2 * n * DEPTH
    assert strategy.frozen_work.reused == n


def test_what_is_cached_is_of_this_view() -> None:
    """With two views a sample's features are those of the view that an update reads."""
    seen: list[tuple[tuple[int, ...], float]] = []
    work = FrozenWork(views=2)
    work.enter(0, 3, replayed=False)
    model = make("linear_probe", backbone=tiny_vit()).model
    model.observe_classes(torch.arange(3))
    first, second = torch.rand(2, 2, 3, 16, 16)
    for images, view in ((first, 0), (second, 1), (first, 0), (second, 1)):
        samples = torch.tensor([[0, 0 + view], [0, 4 + view]])
        columns = [images, torch.tensor([0, 2])]
        batch = Batch(columns, torch.ones(3, dtype=torch.bool), torch.zeros(0), samples)
        output = work.run(model, batch)
        torch.testing.assert_close(output.features, model.run(images).features)
        seen.append((tuple(samples[0].tolist()), float(output.features.sum())))
    assert seen[0] == seen[2] != seen[1] == seen[3]
    assert work.reused == 4


def test_some_known_and_some_not() -> None:
    work = FrozenWork(views=1)
    work.enter(0, 4, replayed=True)
    work.enter(1, 4, replayed=True)
    model = make("mvp", backbone=tiny_vit()).model
    model.observe_classes(torch.arange(3))
    images = torch.rand(4, 3, 16, 16)
    samples = torch.tensor([[0, 3], [1, 0], [0, 1], [1, 2]])
    annotated = torch.ones(3, dtype=torch.bool)
    labels = torch.zeros(4, dtype=torch.int64)

    def batch(rows: list[int]) -> Batch:
        return Batch([images[rows], labels[rows]], annotated, torch.zeros(0), samples[rows])

    work.run(model, batch([2, 1]))
    model.backbone.counter.reset()
    mixed = work.run(model, batch([0, 1, 2, 3]))
    assert model.backbone.counter.blocks == 2 * (DEPTH - 1) + 4 * DEPTH
    torch.testing.assert_close(mixed.logits, model.run(images).logits)


def test_updates_on_the_same_views_take_over_the_whole_first_stage() -> None:
    work = FrozenWork(views=1)
    work.enter(0, 4, replayed=True)
    model = make("mvp", backbone=tiny_vit()).model
    model.observe_classes(torch.arange(3))
    counter = model.backbone.counter
    images, labels = torch.rand(3, 3, 16, 16), torch.zeros(3, dtype=torch.int64)
    costs = []
    for rows in ([0, 1, 2], [0, 1, 2], [0, 1, 2], [1, 0, 2], [1, 0, 2]):
        counter.reset()
        samples = torch.tensor([[0, row] for row in rows])
        columns = [images[rows], labels]
        annotated = torch.ones(3, dtype=torch.bool)
        output = work.run(model, Batch(columns, annotated, torch.zeros(0), samples))
        costs.append(counter.macs)
        torch.testing.assert_close(output.logits, model.run(images[rows]).logits)
    counter.reset()
    encoding = model.encode(images, {})
    first_stage = counter.macs
    model.decode(encoding)
    second_stage = counter.macs - first_stage
    shape = counter.shape
    # Another order is another batch, whose queries are at hand.
    begun = 3 * (shape.embed_macs + 3 * shape.n_tokens * shape.dim * shape.width)
    assert [cost - second_stage for cost in costs] == [first_stage, 0, 0, begun, 0]
    work.next_batch()
    counter.reset()
    work.run(model, Batch(columns, annotated, torch.zeros(0), samples))
    assert counter.macs == second_stage + begun


def test_what_does_not_fit_the_budget_is_computed_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = [FrozenWork(1, budget) for budget in (0, 2**20)]
    assert [work.budget for work in limits] == [0, 2**20]
    anew = fit(make("linear_probe", **TWICE), experiences())
    strategy = make("linear_probe", views=1, **TWICE)
    monkeypatch.setattr(strategy.frozen_work, "budget", 0)
    fit(strategy, experiences())
    assert strategy.frozen_work.reused == 0
    assert blocks(strategy) == blocks(anew)
    assert same(weights(strategy), weights(anew))
    assert frozen_work.BUDGET == 2**30


def test_state_is_kept_where_a_cached_view_can_come_again() -> None:
    once = fit(make("linear_probe", views=1), experiences())
    assert not once.state_dict()["frozen_work"]["parts"]
    replaying = fit(make("er", views=1), experiences())
    state = replaying.state_dict()["frozen_work"]
    assert state["parts"]
    twin = make("er", views=1)
    twin.model.load_learned_state(replaying.model.learned_state())
    twin.frozen_work.load_state_dict(state, twin.model)
    after = twin.frozen_work.state_dict(needed=True)
    assert after["lengths"] == state["lengths"]
    for at, (known, values) in state["parts"].items():
        assert torch.equal(after["parts"][at][0], known)
        assert torch.equal(after["parts"][at][1], values)
