"""Rainbow Memory: a class-balanced buffer and rehearsals on it."""

import pytest
import torch
from torch import nn

from cl_prompts.strategies.rainbow import rehearsal_factor
from tests.toy_data import experiences
from tests.toys import close, fit, make, same, watch, weights


def test_rehearsal_rates_are_warm_restarts() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    restarts = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=1, T_mult=2, eta_min=0.01
    )
    expected = [0.1, 1.0]
    optimizer.step()
    for _ in range(2, 40):
        restarts.step()
        expected.append(optimizer.param_groups[0]["lr"])
    assert [rehearsal_factor(epoch) for epoch in range(40)] == pytest.approx(expected)


def test_a_rehearsal_passes_over_the_buffer_and_gives_the_rates_back() -> None:
    strategy = fit(make("rainbow", rehearsal_epochs=4, period=None, lr=0.02), experiences())
    before = weights(strategy)
    steps = strategy.updates
    strategy.finish_task()
    assert strategy.updates == steps + 4 * 1  # passes over 12 samples in batches of 16
    assert not same(before, weights(strategy))
    (group,) = strategy.optimizer.param_groups
    assert group["lr"] == 0.02
    # Another rate later is that of later rehearsals, too.
    group["lr"] = 0.001
    rates = []
    watch(strategy, "optimizer_step", lambda: rates.append(group["lr"]))
    strategy.finish_task()
    assert rates[:2] == [0.0001, 0.001]


def test_features_read_once_teach_the_same() -> None:
    each, once = (
        fit(make("rainbow", rehearsal_epochs=8, reuse_features=reuse), experiences())
        for reuse in (False, True)
    )
    close(weights(each), weights(once))
    counters = [strategy.model.backbone.counter.images for strategy in (each, once)]
    assert counters[0] - counters[1] == 1 * 7 * 12  # rehearsals, epochs saved, buffer
    assert each.updates == once.updates


def test_it_chooses_from_all_samples_since_the_last_rehearsal() -> None:
    strategy = make("rainbow_chosen", "class_incremental", buffer_size=4)
    first, *_ = experiences("class_incremental")
    chosen_from: list[torch.Tensor] = []
    watch(strategy.replay, "read", lambda at, *key: chosen_from.append(at.clone()))
    finish = strategy.finish_task
    strategy.finish_task = lambda: None
    fit(strategy, [first])
    held = {tuple(r) for r in strategy.buffer.slots.tolist()}
    chosen_from.clear()
    finish()
    views = strategy.uncertainty_views
    candidates = {tuple(r) for r in chosen_from[0].tolist()}
    assert candidates == {(0, row) for row in range(len(first.dataset))}
    assert all(torch.equal(at, chosen_from[0]) for at in chosen_from[:views])
    chosen = {tuple(r) for r in strategy.buffer.slots.tolist()}
    assert len(chosen) == 4
    assert chosen <= candidates
    assert chosen != held
    assert strategy.buffer.labels.unique(return_counts=True)[1].tolist() == [2, 2]
    truth = [int(first.dataset[row][1]) for _, row in strategy.buffer.slots.tolist()]
    assert truth == strategy.buffer.labels.tolist()
