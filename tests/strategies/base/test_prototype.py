"""The strategies without gradients: streams equal batches, and cost one frozen forward an image."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.core import BaseSGDPlugin
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.models.prototype_classifiers import NearestClassMean
from cl_prompts.models.ranpac import RanPAC
from cl_prompts.scenarios import class_incremental_split, si_blurry_benchmark
from cl_prompts.scenarios.benchmarks import benchmark_from_split
from cl_prompts.strategies import NCM, SLDA, AnytimeEvaluation, RanPACProbe
from cl_prompts.strategies.base.prototype import PrototypeStrategy
from tests.conftest import Blobs, tiny_vit

TRAIN, TEST, CLASSES = 120, 48, 6
KINDS: dict[str, tuple[type[PrototypeStrategy], dict[str, Any]]] = {
    "ncm": (NCM, {"metric": "euclidean"}),
    "slda": (SLDA, {}),
    "ranpac": (RanPACProbe, {"projection": 40, "ridge": 3.0, "seed": 4}),
}
every = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, *, backbone: FrozenViT | None = None, **changes: Any) -> PrototypeStrategy:
    cls, options = KINDS[kind]
    settings = {"train_mb_size": 16, "device": "cpu", "evaluator": None, **options, **changes}
    return cls(backbone=backbone or tiny_vit(), n_classes=CLASSES, **settings)


def stream() -> Any:
    return si_blurry_benchmark(
        Blobs(TRAIN, CLASSES, seed=1), Blobs(TEST, CLASSES, seed=2), n_tasks=3, seed=3
    )


def run(strategy: PrototypeStrategy, benchmark: Any | None = None) -> PrototypeStrategy:
    for experience in (benchmark or stream()).train_stream:
        strategy.train(experience, eval_streams=[])
    return strategy


def features(data: Blobs) -> np.ndarray:
    with torch.no_grad():
        return tiny_vit()(data.images).double().numpy()


def centroid_scores(x: np.ndarray, y: np.ndarray, probe: np.ndarray) -> np.ndarray:
    centres = NearestCentroid().fit(x, y).centroids_
    return -((probe[:, None] - centres) ** 2).sum(-1)


def lda_scores(x: np.ndarray, y: np.ndarray, probe: np.ndarray) -> np.ndarray:
    means = np.stack([x[y == c].mean(0) for c in range(CLASSES)])
    inside = x - means[y]
    precision = np.linalg.inv((1 - 1e-4) * inside.T @ inside / len(x) + 1e-4 * np.eye(x.shape[1]))
    scores = probe @ precision @ means.T - np.einsum("cd,de,ce->c", means, precision, means) / 2
    return scores - scores.max(axis=1, keepdims=True)  # relative to the best class


def ridge_scores(x: np.ndarray, y: np.ndarray, probe: np.ndarray) -> np.ndarray:
    matrix = (
        torch.randn(x.shape[1], 40, generator=torch.Generator().manual_seed(4)).double().numpy()
    )
    solver = Ridge(alpha=3.0, fit_intercept=False).fit(
        np.maximum(x @ matrix, 0), np.eye(CLASSES)[y]
    )
    return solver.predict(np.maximum(probe @ matrix, 0))


ORACLES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "ncm": centroid_scores,
    "slda": lda_scores,
    "ranpac": ridge_scores,
}


@every
def test_a_blurry_stream_gives_the_batch_solution(kind: str) -> None:
    train, test = Blobs(TRAIN, CLASSES, seed=1), Blobs(TEST, CLASSES, seed=2)
    strategy = run(make(kind))
    expected = ORACLES[kind](features(train), train.targets, features(test))
    with torch.no_grad():
        logits = strategy.model(test.images).double().numpy()
    assert np.abs(logits - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    assert (logits.argmax(1) == test.targets).mean() > 0.9


@every
def test_costs_one_forward_in_training_and_one_for_each_test_image_in_all(kind: str) -> None:
    strategy, test = make(kind), Blobs(TEST, CLASSES, seed=2)
    counter, depth = strategy.model.backbone.counter, strategy.model.backbone.depth
    run(strategy)
    assert (counter.images, counter.blocks) == (TRAIN, TRAIN * depth)
    assert counter.macs / TRAIN < strategy.model.backbone.forward_macs
    evaluate = AnytimeEvaluation(test).evaluator
    seen = torch.ones(CLASSES, dtype=torch.bool)
    first = evaluate(strategy.model, seen).correct
    reads = test.reads
    counter.reset()
    assert torch.equal(evaluate(strategy.model, seen).correct, first)
    assert (counter.macs, test.reads) == (0, reads)


@every
def test_order_and_batches_make_no_difference(kind: str) -> None:
    test = Blobs(TEST, CLASSES, seed=2)
    benchmark = nc_benchmark(
        Blobs(TRAIN, CLASSES, seed=1), test, n_experiences=2, task_labels=False, seed=1
    )  # shuffled within experiences
    other = run(
        make(kind, train_mb_size=7, held_out=0)
        if kind == "ranpac"
        else make(kind, train_mb_size=7),
        benchmark,
    )
    torch.testing.assert_close(
        other.model(test.images), run(make(kind)).model(test.images), rtol=1e-4, atol=1e-4
    )


@every
def test_a_sample_counts_once_unless_views_are_wanted(kind: str) -> None:
    once = run(make(kind, online_iter=3, train_epochs=2))
    assert once.model.head.count.sum() == TRAIN == once.samples_seen
    views = run(make(kind, online_iter=3, train_epochs=2, augmented_views=True))
    assert views.model.head.count.sum() == 6 * TRAIN
    assert views.samples_seen == 2 * TRAIN


@every
def test_nothing_is_trained_and_state_resumes_exactly(kind: str) -> None:
    assert make(kind).model.n_learned == 0
    experiences = list(stream().train_stream)
    first, second = make(kind), make(kind)
    for experience in experiences[:2]:
        first.train(experience, eval_streams=[])
    second.load_state_dict(first.state_dict(), experiences[:2])
    second.train(experiences[2], eval_streams=[])
    whole, resumed = run(make(kind)).model.learned_state(), second.model.learned_state()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert not any(k.startswith("backbone.") for k in whole)


@every
def test_saved_and_loaded_it_scores_alike(kind: str, tmp_path: Any) -> None:
    strategy, twin, images = run(make(kind)), make(kind), Blobs(TEST, CLASSES, seed=2).images
    strategy.save(str(tmp_path / "m.safetensors"))
    twin.load(str(tmp_path / "m.safetensors"))
    assert torch.equal(twin.model(images), strategy.model(images))


def test_avalanche_triggers_fire_around_the_step() -> None:
    seen: list[float] = []

    class Watch(BaseSGDPlugin):
        def before_update(self, strategy: Any, **kwargs: Any) -> None:
            seen.append(float(strategy.model.head.count.sum()))

        def after_update(self, strategy: Any, **kwargs: Any) -> None:
            seen.append(float(strategy.model.head.count.sum()))

    (experience, *_) = stream().train_stream
    make("ncm", plugins=[Watch()]).train(experience, eval_streams=[])
    n = len(experience.dataset)
    edges = [*range(0, n, 16), n]
    assert seen == [float(e) for pair in pairwise(edges) for e in pair]


def losses_of(kind: str, **changes: Any) -> list[float]:
    losses: list[float] = []

    class Watch(BaseSGDPlugin):
        def after_update(self, strategy: Any, **kwargs: Any) -> None:
            losses.append(float(strategy.loss))

    run(make(kind, plugins=[Watch()], **changes))
    return losses


@every
def test_the_loss_tests_before_it_trains(kind: str) -> None:
    losses = losses_of(kind, training_scores=True)
    assert losses[0] == 0  # no class was known
    assert all(np.isfinite(losses))
    assert 0 < max(losses) < 1000
    assert set(losses_of(kind, training_scores=False)) == {0.0}


def test_the_ridge_is_chosen_where_a_task_ends() -> None:
    data = Blobs(TRAIN, CLASSES, seed=1), Blobs(TEST, CLASSES, seed=2)
    incremental = benchmark_from_split(
        *data, class_incremental_split(data[0].targets, n_tasks=3, seed=1)
    )
    chosen = {10.0**k for k in range(-8, 9)}

    def ridge(strategy: PrototypeStrategy) -> float:
        assert isinstance(strategy.model.head, RanPAC)
        return float(strategy.model.head.ridge)

    assert ridge(run(make("ranpac"), incremental)) in chosen  # announced
    assert ridge(run(make("ranpac"))) == 3.0  # not announced
    assert ridge(run(make("ranpac", period=50))) in chosen
    assert ridge(run(make("ranpac", held_out=0), incremental)) == 3.0


def test_bad_settings_are_refused(vit: FrozenViT) -> None:
    with pytest.raises(
        InputError, match="NCM keeps sums over the whole stream and replays nothing"
    ):
        make("ncm", buffer_size=10)
    with pytest.raises(InputError, match="train_epochs is 0"):
        make("ncm", train_epochs=0)
    with pytest.raises(InputError, match="held_out of RanPAC is -1: it cannot be negative"):
        make("ranpac", held_out=-1)
    with pytest.raises(InputError, match="either model= or both"):
        SLDA(n_classes=3)
    with pytest.raises(InputError, match="this backbone is thawed"):
        PrototypeViT(vit.thawed(), NearestClassMean(16, 3))
    with pytest.raises(InputError, match="features of width 5: this ViT's have 16"):
        PrototypeViT(vit, NearestClassMean(5, 3))
