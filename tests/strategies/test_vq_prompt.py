"""VQ-Prompt against the published numbers, as a run uses it."""

from typing import Any

import pytest
import torch

from cl_prompts.strategies import VQPrompt
from tests.golden_numbers import Golden, give_head, golden_strategy, gradient, put
from tests.strategies.shared import golden_update

GOLDEN = Golden("vq_prompt")


def published(temperature: float) -> Any:
    strategy = golden_strategy(
        VQPrompt, 8, pool_size=5, prompt_length=4, temperature=temperature, boundaries=True
    )
    model = strategy.model
    put(model.selector.key, torch.stack([GOLDEN(f"keys_{block}") for block in range(5)]))
    put(model.pools[0].values, torch.stack([GOLDEN(f"prompts_{block}") for block in range(5)]))
    give_head(model, GOLDEN)
    strategy.annotated = torch.tensor([False, False, True, True, False, False, False, False])
    return strategy


@pytest.mark.parametrize("temperature", [1, 0.1])
def test_one_step_is_the_published_one(temperature: float) -> None:
    case = f"temperature_{temperature}/model"
    strategy = published(temperature)
    model = strategy.model
    output = golden_update(strategy, GOLDEN, f"{case}/")
    GOLDEN.close(output.prompt_loss, f"{case}/prompt_loss")
    for block in (0, 4):
        keys, prompts = f"{case}/grad_keys_{block}", f"{case}/grad_prompts_{block}"
        GOLDEN.close(gradient(model.selector.key)[block], keys, atol=1e-4)
        GOLDEN.close(gradient(model.pools[0].values)[block], prompts, atol=1e-4)
