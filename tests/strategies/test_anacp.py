"""AnaCP on a stream: published numbers through the strategy, and its settings."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.errors import InputError
from tests.golden_numbers import Golden
from tests.strategies.given_features import give, stream_of
from tests.toy_data import N_CLASSES, experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make

GOLDEN = Golden("anacp", "later")


def test_the_published_covariance_of_a_run() -> None:
    tasks = range(len([key for key in GOLDEN.keys("shared/task") if key.endswith("/labels")]))
    labels = [GOLDEN(f"shared/task{t}/labels") for t in tasks]
    sizes = [len(of) for of in labels]
    classes, numbers = torch.cat(labels).unique(return_inverse=True)
    features = [GOLDEN(f"shared/task{t}/features") for t in tasks]
    dim = features[0].shape[1]
    strategy = make(
        "anacp",
        n_classes=len(classes),
        backbone=tiny_vit(embed_dim=dim, num_heads=2),
        form="released",
        train_mb_size=max(sizes),
    )
    give(strategy, torch.cat(features))
    for t, part in enumerate(stream_of(list(numbers.split(sizes)))):
        fit(strategy, [part])
        found = strategy.model.head.shared_covariance()
        GOLDEN.close_double(found, f"shared/task{t}/shared_covariance")


def test_settings_reach_the_classifier() -> None:
    head = make("anacp", seed=3, heads=2, ridge=7.0, samples=4, target_space="features").model.head
    assert (len(head.heads), head.ridge, head.samples) == (2, 7.0, 4)
    assert head.target_space == "features"
    other = make("anacp", seed=4).model.head
    assert not torch.equal(head.last.matrix, other.last.matrix)
    with pytest.raises(InputError, match=r"AnaCP keeps one matrix a class.*ViT with a width of"):
        make("anacp", drawn_from="class", memory_gib=1e-6)


def test_scores_do_not_depend_on_how_often_they_are_asked_for() -> None:
    once = fit(make("anacp"), experiences())
    often = make("anacp", training_scores=True)
    fit(often, experiences())
    features = torch.randn(5, once.model.backbone.dim)
    assert torch.equal(once.model.head(features), often.model.head(features))
    assert once.model.head.seen.sum() == N_CLASSES
