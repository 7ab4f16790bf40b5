"""A seed fixes a run: neither global random state nor evaluation has a say in it."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.strategies import AnytimeEvaluation
from tests.families.runs import finished
from tests.toys import (
    EVERY,
    REPLAYING,
    TEST,
    Blobs,
    benchmark,
    experiences,
    fit,
    make,
    same,
    weights,
)


@pytest.mark.parametrize("kind", EVERY)
def test_a_seed_fixes_a_run_and_global_noise_does_not_matter(kind: str) -> None:
    strategy = make(kind)
    torch.rand(17)
    assert same(finished(kind).after, weights(fit(strategy, experiences())))


@pytest.mark.parametrize("kind", REPLAYING)
def test_another_seed_replays_other_samples(kind: str) -> None:
    assert not same(finished(kind).after, weights(fit(make(kind, seed=1), experiences())))


@pytest.mark.parametrize("kind", EVERY)
def test_evaluation_does_not_change_training(kind: str) -> None:
    often = AnytimeEvaluation(Blobs(TEST, seed=2), every=20)
    strategy = fit(make(kind, plugins=[often]), experiences())
    assert len(often.curve.points()) >= (1 if strategy.whole_stream else 3)
    assert same(finished(kind).after, weights(strategy))


@pytest.mark.parametrize("kind", EVERY)
def test_evaluation_leaves_no_trace(kind: str) -> None:
    run, test_stream = finished(kind), benchmark().test_stream
    model, random = run.strategy.model, torch.get_rng_state()
    AnytimeEvaluation(test_stream).evaluator(model, model.seen)
    assert torch.equal(random, torch.get_rng_state())
    run.strategy.eval(test_stream)
    assert same(run.after, weights(run.strategy))
