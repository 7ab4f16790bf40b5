"""Additive prompts against the published numbers, as a run uses them."""

from typing import Any

import pytest
import torch

from cl_prompts.prompts.additive import AdditivePrompt
from cl_prompts.strategies import AdditivePrompting
from tests.golden_numbers import Golden, give_head, golden_strategy, gradient, put
from tests.strategies.shared import golden_update
from tests.toy_data import experiences
from tests.toys import fit, make

GOLDEN = Golden("additive")


def published() -> Any:
    strategy = golden_strategy(AdditivePrompting, 8, boundaries=True)
    put(strategy.model.pools[0].values, GOLDEN("prompt"))
    give_head(strategy.model, GOLDEN)
    strategy.annotated = torch.tensor([False, False, True, True, False, False, False, False])
    return strategy


def test_one_step_is_the_published_one() -> None:
    strategy = published()
    golden_update(strategy, GOLDEN)
    GOLDEN.close(gradient(strategy.model.pools[0].values), "grad_prompt")
    GOLDEN.close(gradient(strategy.model.head.weight), "grad_head_weight")


def test_evaluation_uses_the_published_means_of_tasks() -> None:
    strategy = published()
    prompt: AdditivePrompt = strategy.model.pools[0]
    for task in range(3):
        strategy.tasks_started = task + 1
        strategy.start_task(strategy.annotated)
        put(prompt.values, GOLDEN(f"fusion/task{task}/prompt"))
        strategy.model.eval()
        GOLDEN.close(prompt.used(), f"fusion/task{task}/merged")
        strategy.model.train()
        assert prompt.used() is prompt.values


@pytest.mark.parametrize("scenario", ["class_incremental", "si_blurry"])
def test_tasks_are_merged_where_they_are_announced(scenario: str) -> None:
    strategy = fit(make("additive_prompt", scenario), experiences(scenario))
    prompt = strategy.model.eval().pools[0]
    assert (prompt.used() is prompt.values) == (scenario == "si_blurry")
    assert len(prompt.blocks) == strategy.backbone.depth
