"""CODA-Prompt: components that grow task by task."""

import pytest
import torch

from cl_prompts.errors import InputError
from tests.toy_data import BENCHMARKS, Blobs, experiences
from tests.toys import fit, make


def test_components_need_to_know_the_tasks_and_only_where_there_are_some() -> None:
    announced, blurry = experiences("class_incremental"), experiences()
    with pytest.raises(InputError, match="among the announced tasks: give n_tasks"):
        fit(make("coda_prompt"), announced)
    with pytest.raises(InputError, match="this stream announces no tasks"):
        fit(make("coda_prompt", "class_incremental"), blurry)
    assert fit(make("coda_prompt", boundaries=False), announced[:1]).tasks_started == 0
    assert fit(make("coda_prompt", n_tasks=3, boundaries=True), blurry).tasks_started == 3
    many = BENCHMARKS["class_incremental"](Blobs(72, seed=1), Blobs(30, seed=2)).train_stream
    with pytest.raises(InputError, match="task 2 has no components"):
        fit(make("coda_prompt", n_tasks=2), many)


def test_the_penalty_keeps_components_orthogonal() -> None:
    def departure(mu: float) -> float:
        strategy = make("coda_prompt", "class_incremental", mu=mu, lr=0.01, train_epochs=2)
        rows = fit(strategy, experiences("class_incremental")).model.selector.key().detach()
        return float((rows @ rows.transpose(1, 2) - torch.eye(rows.shape[1])).square().mean())

    assert departure(10.0) < 0.5 * departure(0.0)
