"""The router to experts: a ridge regression from queries to who was trained on them."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.models.routers import AnalyticRouter


def test_only_started_experts_compete() -> None:
    router = AnalyticRouter(3, 4, width=30, ridge=1.0).eval()
    query = torch.randn(20, 4)
    router.take_in(query)
    # Far away all scores may be negative, and those of experts to come would be 0.
    assert (router(-50 * query).index == 0).all()
    router.train()
    router.start_task(1)
    assert (router(query).index == 1).all()
    router.take_in(-query)
    together = router.eval()(query).index
    alone = torch.cat([router(row[None]).index for row in query])
    assert torch.equal(together, alone)
    router.observe(router(query))
    assert router.count.sum() == 20
    twin = AnalyticRouter(3, 4, width=30, ridge=1.0).eval()
    twin.scores(query)
    twin.load_state_dict(router.state_dict())
    assert torch.equal(twin.scores(query), router.scores(query))


def test_queries_go_where_their_like_was_trained() -> None:
    router = AnalyticRouter(3, 4, width=200, ridge=0.1)
    centres = 3 * torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(3, 40, 4, generator=torch.Generator().manual_seed(3)) / 3
    queries = centres[:, None] + noise
    for expert in range(3):
        router.start_task(expert)
        assert (router(queries[expert]).index == expert).all()
        router.take_in(queries[expert])
    router.eval()
    for expert in range(3):
        selection = router(queries[expert])
        assert (selection.index == expert).float().mean() > 0.95
        assert not selection.distance.requires_grad


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="ridge of the router is 0"):
        AnalyticRouter(3, 4, ridge=0)
    with pytest.raises(InputError, match="expert must be a whole number from 0 to 2"):
        AnalyticRouter(3, 4, width=5).start_task(3)
