"""Experience replay, DER++, Rainbow Memory and CLIB: what each does that the others do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.strategies import LinearProbe, RainbowMemory
from cl_prompts.strategies.rainbow import rehearsal_factor
from tests.conftest import Blobs
from tests.strategies.test_baselines import blurry, incremental, lively_vit, make, train, weights


def probe() -> Any:
    torch.manual_seed(0)
    return LinearProbe(
        backbone=lively_vit(), n_classes=6, lr=0.02, train_mb_size=16, device="cpu", evaluator=None
    )


def close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-4, msg=name)


def test_replay_joins_distinct_memory_samples_and_without_memory_is_a_linear_probe() -> None:
    strategy = make("er")
    sizes, drawn = [], []

    def note() -> None:
        sizes.append(len(strategy.mb_y) - len(strategy.replayed))
        drawn.append(strategy.replayed)

    strategy.after_step = note
    train(strategy, blurry())
    assert set(sizes) <= set(range(1, 17))
    assert len(drawn[0]) == 0  # the memory is empty at first
    assert {len(d) for d in drawn[3:]} == {8}
    assert all(len(d.unique()) == len(d) for d in drawn)
    assert not torch.equal(drawn[3], drawn[4])  # each update draws anew
    close(weights(train(make("er", buffer_size=0), blurry())), weights(train(probe(), blurry())))


def test_der_stores_the_logits_of_the_last_update_with_the_classes_of_then() -> None:
    strategy, (first, *_) = make("derpp", buffer_size=200), blurry()
    rows: list[Tensor] = []
    remember = strategy.remember

    def note(at: Tensor, labels: Tensor) -> None:
        rows.append(strategy.output.logits[: len(at)].detach().clone())
        remember(at, labels)

    strategy.remember = note
    strategy.train(first, eval_streams=[])
    held = len(strategy.buffer)
    values, existed = strategy.stored.at(torch.arange(held))
    logits = torch.cat(rows)
    assert torch.equal(existed, logits.isfinite())
    assert torch.equal(values, logits.masked_fill(~logits.isfinite(), 0))
    assert not bool(existed[:1].all())  # the first batch did not know all classes


def test_der_loss_is_its_three_terms() -> None:
    strategy = make("derpp", alpha=0.3, beta=0.7)
    checked = []

    def note() -> None:
        if strategy.tasks_started == 0 or not len(strategy.replayed):
            return
        m, n = len(strategy.replayed) // 2, len(strategy.mb_y) - len(strategy.replayed)
        logits = strategy.output.logits.detach()
        dark = logits[n : n + m][(mask := strategy.stored.at(strategy.replayed[:m])[1])]
        dark = (dark - strategy.stored.at(strategy.replayed[:m])[0][mask]).square().mean()
        labels = strategy.mb_y
        terms = (
            F.cross_entropy(logits[:n], labels[:n]),
            dark,
            F.cross_entropy(logits[n + m :], labels[n + m :]),
        )
        expected = terms[0] + 0.3 * terms[1] + 0.7 * terms[2]
        torch.testing.assert_close(strategy.loss.detach().squeeze(), expected)
        checked.append(bool(dark > 0))

    strategy.after_step = note
    train(strategy, incremental())
    assert len(checked) > 10
    assert any(checked)


def test_der_without_its_terms_is_a_linear_probe_and_draws_twice() -> None:
    strategy = train(make("derpp", alpha=0.0, beta=0.0), blurry())
    close(weights(strategy), weights(train(probe(), blurry())))
    assert len(strategy.replayed) == 16
    assert not torch.equal(strategy.replayed[:8], strategy.replayed[8:])
    dark = train(make("derpp", alpha=10.0), blurry())
    light = train(make("derpp", alpha=0.0), blurry())

    def drift(strategy: Any) -> float:
        images = strategy.replay.read(torch.arange(20))[0][0]
        with torch.no_grad():
            now = strategy.model(images)
        stored, existed = strategy.stored.at(torch.arange(20))
        return float((now - stored)[existed].square().mean())

    assert drift(dark) < drift(light)  # held to what it said


def test_rehearsal_rates_are_warm_restarts() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    restarts = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=1, T_mult=2, eta_min=0.01
    )
    expected = [0.1, 1.0]
    optimizer.step()
    for _ in range(2, 40):
        restarts.step()
        expected.append(optimizer.param_groups[0]["lr"])
    assert [rehearsal_factor(epoch) for epoch in range(40)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("stream", "boundaries"), [(blurry, None), (blurry, True), (incremental, None)]
)
def test_rainbow_rehearses_at_task_ends_or_every_period(
    stream: Any, boundaries: bool | None
) -> None:
    strategy = make("rainbow", boundaries=boundaries)
    finish, at, moved = strategy.finish_task, [], []

    def note() -> None:
        before, steps = strategy.model.head.weight.clone(), strategy.updates
        finish()
        assert strategy.updates == steps + 3 * -(-len(strategy.buffer) // 16)
        moved.append(not torch.equal(before, strategy.model.head.weight))
        at.append(strategy.samples_seen)

    strategy.finish_task = note
    experiences = train_sizes(strategy, stream())
    if boundaries or stream is incremental:
        assert at == experiences
    else:
        assert len(at) == 3
        assert all(point >= 40 * (i + 1) for i, point in enumerate(at))
        assert all(point < 40 * (i + 1) + 16 for i, point in enumerate(at))
    assert all(moved)
    assert [group["lr"] for group in strategy.optimizer.param_groups] == [0.02]


def train_sizes(strategy: Any, experiences: list[Any]) -> list[int]:
    """Train, and say after how many samples each task ended."""
    train(strategy, experiences)
    return torch.tensor([len(e.dataset) for e in experiences]).cumsum(0).tolist()


def test_rainbow_features_read_once_teach_the_same() -> None:
    each, once = (
        make("rainbow", rehearsal_epochs=8),
        make("rainbow", rehearsal_epochs=8, reuse_features=True),
    )
    close(weights(train(each, blurry())), weights(train(once, blurry())))
    counters = [strategy.model.backbone.counter.images for strategy in (each, once)]
    assert counters[0] - counters[1] == 3 * 7 * 20  # rehearsals, epochs saved, memory
    assert each.updates == once.updates


def test_rainbow_chooses_from_all_samples_since_the_last_rehearsal() -> None:
    strategy, (first, *_) = make("rainbow_chosen", buffer_size=4, boundaries=True), incremental()
    offered = []
    choose = strategy._choose

    def note() -> None:
        offered.append((strategy._candidates.clone(), strategy.buffer.slots.clone()))
        choose()

    strategy._choose = note
    strategy.train(first, eval_streams=[])
    candidates, held = offered[0]
    assert sorted(candidates[:, 1].tolist()) == list(range(len(first.dataset)))
    assert len(strategy._candidates) == 0
    chosen = {tuple(r) for r in strategy.buffer.slots.tolist()}
    assert len(chosen) == 4
    assert chosen <= {tuple(r) for r in candidates[:, :2].tolist()}
    assert chosen != {tuple(r) for r in held.tolist()}
    assert sorted(strategy.buffer.class_counts().values()) == [2, 2]
    truth = [int(first.dataset[row][1]) for _, row in strategy.buffer.slots.tolist()]
    assert truth == strategy.buffer.labels.tolist()


def test_rainbow_clips_and_survives_an_empty_memory() -> None:
    strategy = make("rainbow", clip_norm=1e-4)
    strategy.finish_task()  # nothing to rehearse yet
    assert strategy.updates == 0
    before = weights(strategy)["head.weight"]
    after = weights(train(strategy, blurry()))["head.weight"]
    assert not torch.equal(before, after)
    assert isinstance(strategy, RainbowMemory)


@pytest.mark.parametrize("kind", ["clib", "clib_tuned"])
def test_clib_trains_on_held_samples_alone_and_stores_before_it_trains(kind: str) -> None:
    strategy = make(kind)
    trained: set[tuple[int, int]] = set()
    ever_held: set[tuple[int, int]] = set()
    remember, counts = strategy.remember, []

    def note_held(rows: Tensor, labels: Tensor) -> None:
        counts.append((strategy.updates, len(strategy.mb_y)))
        remember(rows, labels)
        ever_held.update(tuple(r) for r in strategy.buffer.slots[: len(strategy.buffer)].tolist())

    after_step = strategy.after_step

    def note_trained() -> None:
        assert torch.equal(strategy.mb_x, strategy.replay.read(strategy.replayed)[0][0])
        assert torch.equal(strategy.mb_y, strategy.buffer.labels[strategy.replayed])
        assert len(strategy.mb_y) == 8
        trained.update(tuple(r) for r in strategy.buffer.slots[strategy.replayed].tolist())
        after_step()

    strategy.remember, strategy.after_step = note_held, note_trained
    train(strategy, blurry())
    assert counts[0] == (0, 16)  # the first batch is stored before the first update
    assert trained <= ever_held
    assert len(trained) < 120  # some of the stream is never trained on
    assert strategy.updates == 3 * len(counts)


def test_clib_masks_each_memory_sample_by_its_own_task() -> None:
    strategy = make("clib", class_mask="current")
    checked = []

    def note() -> None:
        labels, columns = strategy.mb_y, strategy.columns
        assert columns.shape == (len(labels), 6)
        assert bool(columns.gather(1, labels[:, None]).all())
        logits = strategy.output.logits.detach().masked_fill(~columns, float("-inf"))
        torch.testing.assert_close(
            strategy.loss.detach().squeeze(), F.cross_entropy(logits, labels)
        )
        checked.append(len(columns.unique(dim=0)))

    strategy.after_step = note
    train(strategy, incremental())
    assert max(checked) > 1  # samples of several tasks in one batch


def test_clib_credits_trained_samples_and_moves_its_rate() -> None:
    strategy = make("clib", lr_period=1, lr_length=2, significance=0.49)
    train(strategy, blurry())
    assert bool((strategy.buffer.importance != 0).any())
    assert not bool(strategy.buffer.losses.isnan().any())
    assert strategy.rate.high != 1.0
    rate = strategy.rate.lr
    assert [group["lr"] for group in strategy.optimizer.param_groups] == pytest.approx(
        [0.02 * rate]
    )
    tuned = train(make("clib_tuned", lr_period=1), blurry())
    assert [g["lr"] / g["initial_lr"] for g in tuned.optimizer.param_groups] == pytest.approx(
        [tuned.rate.lr] * 2
    )
    assert [g["initial_lr"] for g in tuned.optimizer.param_groups] == [0.02, 1e-3]
    scheduled = train(make("clib", schedule="cosine", train_epochs=2), incremental()[:1])
    assert scheduled.optimizer.param_groups[0]["lr"] == pytest.approx(
        0.02 * 0.5 * scheduled.rate.lr
    )  # second epoch of 2


def test_clib_knows_the_memory_s_losses_from_kept_features() -> None:
    strategy = train(make("clib"), blurry())
    images, labels = strategy.replay.read(torch.arange(20))[0][:2]
    with torch.no_grad():
        expected = F.cross_entropy(strategy.model(images), labels, reduction="none")
    torch.testing.assert_close(strategy.buffer_losses(), expected)
    # 3 updates of 8 memory samples a batch, and at most one pass for each sample of the stream.
    data = Blobs(120, 6)
    assert strategy.features is not None
    assert strategy.model.backbone.counter.images <= strategy.updates * 8 + len(data) + 20
