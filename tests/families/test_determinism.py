"""A seed fixes a run: neither global random state nor evaluation has a say in it."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.strategies import AnytimeEvaluation
from tests.families.runs import finished
from tests.toy_data import TEST, Blobs, benchmark, experiences
from tests.toys import EVERY, REPLAYING, fit, make, same, weights


@pytest.mark.parametrize("kind", EVERY)
def test_a_seed_fixes_a_run_whatever_is_drawn_or_evaluated_besides(kind: str) -> None:
    often = AnytimeEvaluation(Blobs(TEST, seed=2), every=20)
    strategy = make(kind, plugins=[often])
    torch.rand(17)
    fit(strategy, experiences())
    assert len(often.curve.points()) >= (1 if strategy.whole_stream else 3)
    assert same(finished(kind).after, weights(strategy))


@pytest.mark.parametrize("kind", REPLAYING)
def test_another_seed_replays_other_samples(kind: str) -> None:
    assert not same(finished(kind).after, weights(fit(make(kind, seed=1), experiences())))


@pytest.mark.parametrize("kind", EVERY)
def test_evaluation_leaves_no_trace(kind: str) -> None:
    run = finished(kind)
    test_stream = benchmark().test_stream
    model = run.strategy.model
    random = torch.get_rng_state()
    AnytimeEvaluation(test_stream).evaluator(model, model.seen)
    assert torch.equal(random, torch.get_rng_state())
    run.strategy.eval(test_stream)
    assert same(run.after, weights(run.strategy))
