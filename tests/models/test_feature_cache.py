"""The frozen part of training passes, computed once for each view."""

from typing import Any

import pytest
import torch

from cl_prompts.models.feature_cache import BUDGET, FeatureCache
from tests.toy_data import experiences
from tests.toy_vits import DEPTH, tiny_vit
from tests.toys import close, fit, make, same, weights

TWICE = {"train_epochs": 2, "online_iter": 2}


def blocks(strategy: Any) -> int:
    return strategy.model.backbone.counter.blocks


@pytest.mark.parametrize(
    ("kind", "first", "later"),
    [("linear_probe", DEPTH, 0), ("mvp", 2 * DEPTH - 1, DEPTH), ("one_prompt", DEPTH, DEPTH)],
)
def test_the_frozen_part_is_computed_once_for_each_view(kind: str, first: int, later: int) -> None:
    """Counted on four passes over each sample: two epochs with two updates each."""
    again, anew = (
        fit(make(kind, one_view=once, buffer_size=0, period=None, **TWICE), experiences())
        for once in (True, False)
    )
    n = anew.samples_seen // 2
    assert blocks(anew) == 4 * n * first
    assert blocks(again) == n * (first + 3 * later)
    assert again.feature_cache.reused == (3 * n if later < first else 0)
    close(weights(again), weights(anew))


@pytest.mark.parametrize("kind", ["er", "mvp_r"])
def test_replayed_samples_are_known_by_experience_and_row(kind: str) -> None:
    again, anew = (fit(make(kind, one_view=once), experiences()) for once in (True, False))
    close(weights(again), weights(anew))
    assert blocks(again) < blocks(anew)


def cached(model: Any, cache: FeatureCache, images: torch.Tensor, rows: list[list[int]]) -> Any:
    """Output on samples of (experience, view); the model's counter has the cost."""
    model.backbone.counter.reset()
    return cache.run(model, images, torch.tensor(rows))


def model_and_cache(kind: str) -> tuple[Any, FeatureCache]:
    """A model that knows three classes, and a cache of two experiences of four samples."""
    model = make(kind, backbone=tiny_vit()).model
    model.observe_classes(torch.arange(3))
    cache = FeatureCache()
    for experience in (0, 1):
        cache.reserve(experience, 4)
    return model, cache


def test_batches_may_mix_cached_and_new_samples() -> None:
    model, cache = model_and_cache("mvp")
    images = torch.rand(4, 3, 16, 16)
    samples = [[0, 3], [1, 0], [0, 1], [1, 2]]
    cached(model, cache, images[[2, 1]], [samples[2], samples[1]])
    mixed = cached(model, cache, images, samples)
    assert model.backbone.counter.blocks == 2 * (DEPTH - 1) + 4 * DEPTH
    torch.testing.assert_close(mixed.logits, model.run(images).logits)


def test_features_beyond_the_budget_are_recomputed() -> None:
    anew = fit(make("linear_probe", **TWICE), experiences())
    strategy = make("linear_probe", one_view=True, **TWICE)
    assert strategy.feature_cache.budget == BUDGET == 2**30
    strategy.feature_cache.budget = 0
    fit(strategy, experiences())
    assert strategy.feature_cache.reused == 0
    assert blocks(strategy) == blocks(anew)
    assert same(weights(strategy), weights(anew))
    stream = experiences()[:2]
    replaying = make("er", one_view=True)
    replaying.feature_cache.budget = 4 * 16 * max(len(one.dataset) for one in stream)
    fit(replaying, stream)  # both are kept for replay, and one of them fits
    ((known, values),) = replaying.state_dict()["feature_cache"]["parts"].values()
    assert known.all()
    assert len(known) == len(values) == max(len(one.dataset) for one in stream)


def test_restarted_training_mixes_no_cached_samples() -> None:
    learned = []
    for once in (True, False):
        strategy = make("er", one_view=once)
        first, second, third = experiences()
        fit(strategy, [first])

        def stop() -> None:
            raise KeyboardInterrupt

        strategy.between_batches = stop
        with pytest.raises(KeyboardInterrupt):
            fit(strategy, [second])
        strategy.between_batches = None
        learned.append(weights(fit(strategy, [second, third])))
    close(*learned)
