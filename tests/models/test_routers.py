"""Routers: HiDe-Prompt's here, FlyPrompt's published run in strategies/test_flyprompt.py."""

import pytest
import torch
from torch import nn

from cl_prompts.errors import InputError
from cl_prompts.models.routers import AnalyticRouter, HeadRouter, TaskIdentity
from cl_prompts.prompts.task_aware import start_task
from tests.golden_numbers import Golden

GOLDEN = Golden("hide")


def test_published_identity() -> None:
    identity = TaskIdentity(32, 8)
    names = {"norm": "norm", "net.0.0": "mapping.0", "net.1.0": "mapping.2"}
    state = {}
    for key, values in GOLDEN.state("identity/mapping/").items():
        module, parameter = key.rsplit(".", 1)
        state[f"{names[module]}.{parameter}"] = values
    identity.load_state_dict(state, strict=False)
    GOLDEN.close(identity.mapped(GOLDEN("identity/features")), "identity/mapped")


def test_an_image_gets_the_task_of_its_most_likely_class() -> None:
    torch.manual_seed(0)
    router = HeadRouter(nn.Linear(4, 8), 8, n_tasks=3)
    query = 10 * torch.randn(40, 4)
    for task, classes in enumerate(([5, 1], [0, 7, 1], [2])):
        start_task(router, task)
        router.own(torch.tensor(classes))
        assert (router.train()(query).index == task).all()
    assert router.task_of.tolist() == [1, 0, 2, -1, -1, 0, -1, 1]  # 1 was met before
    selection = router.eval()(query)
    best = router.classifier(query).masked_fill(~router.seen, -torch.inf).argmax(dim=1)
    assert torch.equal(selection.index[:, 0], router.task_of[best])
    assert len(selection.index.unique()) == 3
    router.observe(selection)
    assert int(router.count.sum()) == 40
    twin = HeadRouter(nn.Linear(4, 8), 8, n_tasks=3).eval()
    twin.load_state_dict(router.state_dict())
    assert torch.equal(twin(query).index, selection.index)
    with pytest.raises(InputError, match="task 3 has no prompts"):
        start_task(router, 3)


def test_a_solution_of_earlier_sums_is_not_used_again() -> None:
    here, there = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
    kept, loaded, fresh = (AnalyticRouter(2, 4, width=20, ridge=0.1) for _ in range(3))
    for router, solves in ((kept, True), (fresh, False)):
        router.update(here)
        if solves:
            router.scores(here)
        start_task(router, 1)
        router.update(there)
    loaded.update(there)
    loaded.scores(here)
    loaded.load_state_dict(kept.state_dict())
    for router in (kept, loaded):
        assert torch.equal(router.scores(there), fresh.scores(there))
