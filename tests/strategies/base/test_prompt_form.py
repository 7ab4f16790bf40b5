"""Forms of prompts: through an encoder, or with an update of tokens."""

import itertools
from typing import Any

import pytest
import torch

from cl_prompts import prompts
from cl_prompts.strategies import Decomposed, Encoded
from tests.strategies.shared import noted
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make, weights

ENTRIES = ["mvp", "l2p", "s_prompt", "one_prompt"]
IMAGES = Blobs(5, seed=3).images


@pytest.mark.parametrize(
    ("kind", "encoder"), zip(ENTRIES, itertools.cycle(["mlp", "lstm"]), strict=False)
)
def test_prompts_learn_through_an_encoder(kind: str, encoder: str) -> None:
    strategy = make(kind, prompt_form=Encoded(kind=encoder, width=4))
    before = weights(strategy)
    assert isinstance(strategy.model.pools[0], prompts.Reparameterised)
    fit(strategy, experiences())
    after = weights(strategy)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".encoder." in name for name in moved)
    assert any(name.endswith("pool.values") for name in moved)


def test_prompts_of_finished_tasks_stay_fixed_under_a_shared_encoder() -> None:
    strategy = make("s_prompt", "class_incremental", prompt_form=Encoded(kind="mlp", width=4))
    pool = strategy.model.pools[0]

    def finished(*_: Any) -> tuple[int, torch.Tensor]:
        task = strategy.tasks_started - 1
        return task, pool.values[:task].detach().clone()

    kept = noted(strategy, "training_loss", finished, experiences("class_incremental"))
    assert {task for task, _ in kept} == {0, 1, 2}
    for task, values in kept:
        assert torch.equal(values, pool.values[:task])
    assert pool.baked.tolist() == [True, True, False]


@pytest.mark.parametrize("kind", ["mvp", "l2p", "one_prompt", "coda_prompt", "smope"])
def test_an_update_of_tokens_begins_at_zero_and_learns_beside_any_prompts(kind: str) -> None:
    strategy = make(kind, prompt_form=Decomposed(rank=2), period=None)
    update = strategy.model.pools[-1]
    assert isinstance(update, prompts.DecomposedTokens)
    assert not update.update().any()
    fit(strategy, experiences())
    strategy.model.eval()
    with torch.no_grad():
        logits = strategy.model(IMAGES)
        assert update.update().any()
        update.baked.sub_(update.update())
        assert not torch.allclose(strategy.model(IMAGES), logits)


@pytest.mark.parametrize("scenario", ["class_incremental", "si_blurry"])
def test_a_task_end_folds_the_update_and_evaluation_is_unchanged(scenario: str) -> None:
    strategy = make("l2p", scenario, prompt_form=Decomposed(rank=2), period=24)
    differences = []
    update = strategy.model.pools[-1]
    finish = strategy.finish_task

    def checked() -> None:
        model = strategy.model.eval()
        with torch.no_grad():
            before = model(IMAGES)
            finish()
            after = model.eval()(IMAGES)
        differences.append((before - after)[before.isfinite()].abs().max())
        assert not update.b.any()
        assert not any(p is update.b for p in strategy.optimizer.state)
        model.train()

    strategy.finish_task = checked
    fit(strategy, experiences(scenario))
    assert len(differences) == 3
    assert max(differences) < 1e-5
    assert update.baked.any()
