"""CLIB: training only on a buffer of the most useful samples."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.strategies import Head
from tests.toy_data import TRAIN, experiences
from tests.toys import fit, make, same, watch, weights


@pytest.mark.parametrize("kind", ["clib", "clib_tuned"])
def test_it_trains_on_held_samples_alone_and_stores_before_it_trains(kind: str) -> None:
    strategy = make(kind)
    trained: set[tuple[int, ...]] = set()
    ever_held: set[tuple[int, ...]] = set()
    stored: list[tuple[int, int]] = []
    remember = strategy.remember

    def store(rows: Any, batch: Any, output: Any) -> None:
        stored.append((strategy.updates, len(batch.labels)))
        remember(rows, batch, output)
        held = strategy.buffer.slots[: len(strategy.buffer)]
        ever_held.update(tuple(r) for r in held.tolist())

    def note(output: Any, batch: Any) -> None:
        references = strategy.buffer.slots[batch.slots]
        assert torch.equal(batch.images, strategy.replay.read(references, 0)[0][0])
        assert torch.equal(batch.labels, strategy.buffer.labels[batch.slots])
        assert len(batch.labels) == 8
        trained.update(tuple(r) for r in strategy.buffer.slots[batch.slots].tolist())

    strategy.remember = store
    watch(strategy, "after_step", note)
    fit(strategy, experiences())
    assert stored[0][0] == 0  # the first batch is stored before the first update
    assert trained <= ever_held
    assert len(trained) < TRAIN  # some of the stream is never trained on
    assert strategy.updates == 2 * len(stored)


def test_a_new_sample_does_not_inherit_the_importance_of_its_slot() -> None:
    """Whether or not the state is asked for in between, as for a checkpoint."""
    settings = {"importance_every": 2, "online_iter": 1, "buffer_size": 12}
    plain = fit(make("clib", **settings), experiences(train=120))
    asked = make("clib", **settings)
    asked.between_batches = asked.state_dict
    fit(asked, experiences(train=120))
    assert torch.equal(plain.buffer.importance, asked.buffer.importance)
    assert same(weights(plain), weights(asked))


def test_losses_are_observed_after_every_second_update() -> None:
    strategy = make("clib", importance_every=2, online_iter=1)
    observed: list[int] = []
    watch(strategy, "buffer_losses", lambda: observed.append(strategy.updates + 1))
    fit(strategy, experiences()[:1])
    assert observed == list(range(2, strategy.updates + 1, 2))


def test_the_adaptive_rate_multiplies_each_groups_own() -> None:
    settings: dict[str, Any] = {"lr": 0.02, "lr_period": 1, "lr_length": 2, "significance": 0.49}
    strategy = fit(make("clib", online_iter=3, **settings), experiences(train=120))
    assert strategy.rate.high != 1.0
    (group,) = strategy.optimizer.param_groups
    assert group["lr"] == pytest.approx(0.02 * strategy.rate.lr)
    tuned = fit(make("clib_tuned", lr=0.02, lr_period=1), experiences())
    groups = tuned.optimizer.param_groups
    assert [g["initial_lr"] for g in groups] == [0.02, 1e-3]
    assert [g["lr"] for g in groups] == pytest.approx([0.02 * tuned.rate.lr, 1e-3 * tuned.rate.lr])


def test_the_losses_of_a_trained_vit_are_the_current_models() -> None:
    strategy = fit(make("clib_tuned"), experiences())
    images, labels = strategy.replay.read(strategy.buffer.slots[:12], 0)[0][:2]
    with torch.no_grad():
        want = F.cross_entropy(strategy.model(images), labels, reduction="none")
    torch.testing.assert_close(strategy.buffer_losses(), want)


def test_cached_features_are_raw_so_that_they_stay_exact() -> None:
    strategy = fit(make("clib", head=Head(input="whitened")), experiences())
    held = torch.arange(len(strategy.buffer))
    with torch.no_grad():
        images = strategy.replay.read(strategy.buffer.slots[held], 0)[0][0]
        labels = strategy.buffer.labels[held]
        want = F.cross_entropy(strategy.model.eval()(images), labels, reduction="none")
        raw = strategy.model.backbone(images)
    torch.testing.assert_close(strategy.buffer_features[held], raw, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(strategy.buffer_losses(), want, atol=1e-4, rtol=1e-4)
