"""Routers in place of keys."""

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.strategies import Router
from tests.toy_data import experiences
from tests.toy_vits import DEPTH
from tests.toys import fit, make, watch


def routed(kind: str, scenario: str = "si_blurry", **settings: Any) -> Any:
    return make(kind, scenario, plugins=[Router(width=40, ridge=1.0)], **settings)


@pytest.mark.parametrize("kind", ["s_prompt", "dual_prompt"])
def test_each_task_trains_its_own_entry_and_the_router_learns_its_images(kind: str) -> None:
    strategy = routed(kind, "class_incremental", train_epochs=2)  # fed in the first one
    stream = experiences("class_incremental")
    values = strategy.model.pools[-1].values
    taken: list[tuple[int, int]] = []
    router = strategy.model.selector
    assert isinstance(router, AnalyticRouter)
    watch(router, "update", lambda query: taken.append((router.current, len(query))))
    for task, part in enumerate(stream):
        before = values.detach().clone()
        fit(strategy, [part])
        moved = (values != before).flatten(1).any(dim=1)
        assert bool(moved[task])
        assert not moved[task + 1 :].any()
        assert sum(n for expert, n in taken if expert == task) == len(part.dataset)
    images = torch.stack([part.dataset[i][0] for part in stream for i in range(8)])
    with torch.no_grad():
        chosen = strategy.model.eval().run(images).selection.index[:, 0]
    own = torch.arange(3).repeat_interleave(8)
    assert (chosen == own).float().mean() > 0.5


def test_periods_take_the_place_of_tasks_and_training_needs_no_query() -> None:
    strategy = routed("s_prompt", period=24)
    counter = strategy.model.backbone.counter
    fit(strategy, experiences())
    assert strategy.model.selector.current == strategy.samples_seen // 24
    # A pass for each update, and one for the router.
    passes = strategy.online_iter + 1
    assert counter.blocks == passes * DEPTH * strategy.samples_seen
    assert float(strategy.prompt_loss(strategy.model.train().run(torch.rand(2, 3, 16, 16)))) == 0


def test_a_router_needs_boundaries_or_a_period() -> None:
    with pytest.raises(InputError, match="Router needs task boundaries"):
        fit(routed("s_prompt"), experiences())
    # A method that is defined with a router may continue with its first expert.
    strategy = fit(make("flyprompt", period=None), experiences())
    assert strategy.model.selector.current == 0
