"""Rates of prompts and head apart from each other, wherever parameters come from."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from tests.toy_data import experiences
from tests.toys import PROMPTED, fit, make, same, weights

SCENARIO = {"multi_lane": "mlcil"}


def rates(strategy: Any) -> dict[str, float]:
    """Trainable parameter -> its rate."""
    groups = strategy.optimizer.param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    return {n: rate[id(p)] for n, p in strategy.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("kind", PROMPTED)
def test_prompts_have_a_rate_of_their_own_also_those_of_later_tasks(kind: str) -> None:
    strategy = make(kind, "class_incremental", lr=1e-3, prompt_lr=0.5, schedule="constant")
    for experience in experiences("class_incremental"):
        fit(strategy, [experience])
        found = rates(strategy)
        for name, rate in found.items():
            if name.startswith("selector.classifier."):
                continue  # which has a rate of its own
            head = name.startswith(("head.", "logit_mask.")) or ".heads." in name
            assert rate == (1e-3 if head else 0.5), name
        assert {1e-3, 0.5} <= set(found.values())


@pytest.mark.parametrize("kind", PROMPTED)
def test_equal_rates_are_one_rate(kind: str) -> None:
    stream = experiences("class_incremental")[:2]
    first = fit(make(kind, "class_incremental", lr=0.01, prompt_lr=None), stream)
    second = fit(make(kind, "class_incremental", lr=0.01, prompt_lr=0.01), stream)
    assert same(weights(first), weights(second))


@pytest.mark.parametrize("kind", ["multi_lane", "coda_prompt"])
@pytest.mark.parametrize("scenario", ["class_incremental", "si_blurry"])
def test_two_rates_resume_exactly(kind: str, scenario: str) -> None:
    def new() -> Any:
        return make(kind, scenario, lr=1e-3, prompt_lr=0.02)

    stream = experiences(scenario)
    whole, first, second = fit(new(), stream), fit(new(), stream[:2]), new()
    second.load_state_dict(first.state_dict(), stream[:2])
    fit(second, stream[2:])
    assert same(weights(whole), weights(second))


def test_a_schedule_multiplies_each_rate() -> None:
    strategy = make("one_prompt", lr=1e-3, prompt_lr=0.1, schedule="cosine", train_epochs=2)
    strategy.clock.train_exp_epochs = 1
    strategy.set_learning_rate()
    assert [g["lr"] for g in strategy.optimizer.param_groups] == pytest.approx([5e-4, 0.05])


@pytest.mark.parametrize("kind", PROMPTED)
def test_rates_scale_with_the_batch_by_name(kind: str) -> None:
    settings = {"lr": 0.01, "prompt_lr": 0.1, "train_mb_size": 64}
    strategy = make(kind, lr_scaling="batch/256", **settings)
    want = [0.01 / 4, 0.1 / 4]
    assert [g["lr"] for g in strategy.optimizer.param_groups][:2] == pytest.approx(want)
    assert [g["lr"] for g in make(kind, **settings).optimizer.param_groups][:2] == [0.01, 0.1]


@pytest.mark.parametrize("wrong", [{"prompt_lr": 0.1}, {"lr_scaling": "batch/256"}])
def test_a_given_optimizer_has_rates_of_its_own(wrong: dict[str, Any]) -> None:
    model = make("one_prompt").model
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(InputError, match=f"{next(iter(wrong))} sets rates of the optimizer that"):
        make("one_prompt", model=model, optimizer=optimizer, **wrong)
