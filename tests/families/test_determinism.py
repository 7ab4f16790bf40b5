"""A seed, and nothing else, fixes a run; ``test_resume.py`` makes every run once more, with other
draws and without evaluations."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.strategies import AnytimeEvaluation
from tests.families.runs import finished
from tests.toy_data import benchmark, experiences
from tests.toys import EVERY, REPLAYING, fit, make, same, weights


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
