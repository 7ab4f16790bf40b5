"""SinglePrompt against the published numbers, as a run uses it."""

from typing import Any

import pytest

from cl_prompts.strategies import Head, SinglePrompt
from tests.golden_numbers import Golden, add_position, give_head, golden_strategy, gradient, put
from tests.strategies.shared import golden_update

GOLDEN = Golden("single_prompt")


def published(head: str) -> Any:
    strategy = golden_strategy(
        SinglePrompt,
        9,
        prompt_length=3,
        head=Head(kind="cosine" if head == "cos_sim" else "linear"),
    )
    add_position(strategy.model)
    put(strategy.model.pools[0].values, GOLDEN("prompt"))
    give_head(strategy.model, GOLDEN, f"{head}/")
    return strategy


@pytest.mark.parametrize("head", ["cos_sim", "linear"])
def test_one_step_is_the_published_one(head: str) -> None:
    strategy = published(head)
    model = strategy.model
    golden_update(strategy, GOLDEN, f"{head}/", loss="batch_mask_loss")
    GOLDEN.close(gradient(model.pools[0].values), f"{head}/grad_prompt")
    GOLDEN.close(gradient(model.head.weight), f"{head}/grad_head_weight")
    strategy.optimizer.step()
    GOLDEN.close(model.pools[0].values, f"{head}/after_adam/prompt", atol=1e-3)
    GOLDEN.close(model.head.weight, f"{head}/after_adam/head_weight", atol=1e-3)
    after = model.run(GOLDEN("images"))
    GOLDEN.close(after.logits, f"{head}/after_adam/eval_logits", atol=1e-4)
