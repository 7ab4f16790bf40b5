"""A seed, and nothing else, fixes a run; ``test_resume.py`` makes every run once more, with other
draws and without evaluations."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.strategies import AnytimeEvaluation
from tests.families.runs import begin, finished
from tests.toy_data import benchmark, experiences
from tests.toys import EVERY, REPLAYING, fit, same, weights


@pytest.mark.parametrize("kind", REPLAYING)
def test_another_seed_replays_other_samples(kind: str) -> None:
    other = begin(kind, "class_incremental", seed=1)
    fit(other, experiences("class_incremental"))
    assert not same(finished(kind, "class_incremental").after, weights(other))


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
