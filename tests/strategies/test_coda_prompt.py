"""CODA-Prompt: components that grow task by task."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cl_prompts.errors import InputError
from cl_prompts.prompts.components import GrowingRows
from tests.toy_data import BENCHMARKS, Blobs, experiences
from tests.toys import fit, make


def growing(model: nn.Module) -> list[GrowingRows]:
    return [module for module in model.modules() if isinstance(module, GrowingRows)]


def test_components_of_earlier_tasks_never_move() -> None:
    strategy = make("coda_prompt", "class_incremental", new_optimizer=False)
    learning = [p for p in strategy.model.parameters() if p.requires_grad]
    strategy.optimizer = torch.optim.AdamW(learning, lr=0.01, weight_decay=0.5)
    fixed = []
    for t, experience in enumerate(experiences("class_incremental")):
        fit(strategy, [experience])
        for rows in growing(strategy.model):
            assert [bool(part.any()) for part in rows.rows] == [i <= t for i in range(3)]
        fixed.append([rows.rows[t].detach().clone() for rows in growing(strategy.model)])
    for t in (0, 1):
        pairs = zip(fixed[t], growing(strategy.model), strict=True)
        assert all(torch.equal(then, rows.rows[t]) for then, rows in pairs)


def test_without_boundaries_all_components_train_from_the_start() -> None:
    strategy = make("coda_prompt")
    before = [rows().clone() for rows in growing(strategy.model)]
    assert all(rows.shape[1] == 9 for rows in before)
    fit(strategy, experiences())
    for old, rows in zip(before, growing(strategy.model), strict=True):
        assert (old != rows()).flatten(2).any(dim=2).all()


def test_components_need_to_know_the_tasks_and_only_where_there_are_some() -> None:
    announced, blurry = experiences("class_incremental"), experiences()
    with pytest.raises(InputError, match="whose number is not known: give n_tasks"):
        fit(make("coda_prompt"), announced)
    with pytest.raises(InputError, match="no task is announced here"):
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
