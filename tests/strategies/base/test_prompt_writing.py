"""Prompts written through an encoder or with an update of tokens, in a strategy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.prompts.parameterisations import Decomposed, Reparameterised
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make, watch, weights

WRITABLE = ["mvp", "l2p", "dual_prompt", "s_prompt", "one_prompt", "single_prompt"]
IMAGES = Blobs(5, seed=3).images


@pytest.mark.parametrize("kind", WRITABLE)
@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
def test_prompts_learn_through_an_encoder(kind: str, encoder: str) -> None:
    strategy = make(kind, prompt_encoder=encoder, encoder_width=4)
    before = weights(strategy)
    assert isinstance(strategy.model.pools[0], Reparameterised)
    fit(strategy, experiences())
    after = weights(strategy)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".encoders." in name for name in moved)
    assert any(name.endswith("pool.values") for name in moved)


@pytest.mark.parametrize("kind", ["coda_prompt", "vq_prompt", "smope", "hide_prompt"])
def test_an_encoder_needs_single_entries(kind: str) -> None:
    with pytest.raises(InputError, match="are not single entries of a pool: leave it out"):
        make(kind, prompt_encoder="mlp")


def test_prompts_of_finished_tasks_stand_still_although_they_share_the_encoder() -> None:
    strategy = make("s_prompt", "class_incremental", prompt_encoder="mlp", encoder_width=4)
    pool, kept = strategy.model.pools[0], []
    watch(
        strategy,
        "training_loss",
        lambda *_: kept.append(
            (strategy.tasks_started - 1, pool.values[: strategy.tasks_started - 1].detach().clone())
        ),
    )
    fit(strategy, experiences("class_incremental"))
    assert {task for task, _ in kept} == {0, 1, 2}
    for task, values in kept:
        assert torch.equal(values, pool.values[:task])
    assert pool.baked.tolist() == [True, True, False]


@pytest.mark.parametrize("kind", [*WRITABLE, "coda_prompt", "vq_prompt", "smope", "norga"])
def test_an_update_of_tokens_begins_at_zero_and_learns_beside_any_prompts(kind: str) -> None:
    strategy = make(kind, decomposed="shared", decomposed_rank=2, period=None)
    update = strategy.model.pools[-1]
    assert isinstance(update, Decomposed)
    assert not update.updates().any()
    fit(strategy, experiences())
    strategy.model.eval()
    with torch.no_grad():
        logits = strategy.model(IMAGES)
        assert update.updates().any()
        update.baked.sub_(update.updates())
        assert not torch.allclose(strategy.model(IMAGES), logits)


@pytest.mark.parametrize("scenario", ["class_incremental", "si_blurry"])
def test_a_task_end_folds_the_update_and_evaluation_is_unchanged(scenario: str) -> None:
    strategy, differences = make("l2p", scenario, decomposed="entry", period=24), []
    update, finish = strategy.model.pools[-1], strategy.finish_task
    assert len(update.a) == 4

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


@pytest.mark.parametrize("wrong", ["one_prompt", "coda_prompt", "smope"])
def test_updates_by_entry_need_entries(wrong: str) -> None:
    with pytest.raises(InputError, match="give decomposed=shared"):
        make(wrong, decomposed="entry")


@pytest.mark.parametrize(
    "form", [{"prompt_encoder": "mlp"}, {"decomposed": "shared"}, {"average_checkpoints": 3}]
)
def test_a_given_model_has_its_prompts(form: dict[str, Any]) -> None:
    model = make("one_prompt").model
    with pytest.raises(InputError, match=f"{next(iter(form))} says how the prompts of a model are"):
        make("one_prompt", model=model, **form)


def test_without_these_settings_a_model_is_as_it_was() -> None:
    names: list[Any] = [type(pool).__name__ for pool in make("dual_prompt").model.pools]
    assert names == ["SharedPrefix", "PrefixPool"]
