"""A budget of training compute: schedules, counted cost, and what evaluations see."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.core import BaseSGDPlugin
from avalanche.training.plugins import ReplayPlugin
from contenders import count_of

from cl_prompts.backbones import create_backbone
from cl_prompts.backbones.mac_counter import MACCounter
from cl_prompts.closed_form import NearestClassMean
from cl_prompts.errors import InputError
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.strategies import AnytimeEvaluation
from cl_prompts.strategies.plugins.budget import Budget
from tests.families.runs import scores
from tests.families.test_resume import resumed, stopped_after
from tests.toy_data import Blobs, experiences
from tests.toys import TABLE, fit, make, same, weights

#: a stream batch of the simulated streams
BATCH = 4


def schedule(relative_cost: float, batches: int) -> list[int]:
    """Batches that a method trains whose update costs ``relative_cost`` of what a batch brings."""
    budget = Budget(passes=1.0)
    model = PrototypeViT(create_backbone(), NearestClassMean(128, n_classes=2))
    cost = SimpleNamespace(update=0.0, solve=lambda: None)
    loop = SimpleNamespace(place=None, cost=cost)
    strategy: Any = SimpleNamespace(
        model=model, loop=loop, train_epochs=1, experience=SimpleNamespace(dataset=range(8))
    )
    budget.before_training_exp(strategy)
    labels = torch.zeros(BATCH, dtype=torch.int64)
    arriving: Any = SimpleNamespace(
        size=BATCH, first=SimpleNamespace(labels_on_host=lambda n: labels)
    )
    trained = []
    for batch in range(batches):
        if budget.admits(strategy, arriving):
            trained.append(batch)
            cost.update = relative_cost
            budget.spend(relative_cost * BATCH)
            budget.end_of_stream_batch(strategy, BATCH)
    return trained


def test_a_method_trains_every_so_many_batches_or_its_share_of_them() -> None:
    for cost in (1, 2, 3, 6):
        assert schedule(cost, 120) == list(range(0, 120, cost))
    assert schedule(2.5, 120) == [batch for batch in range(120) if batch % 5 in (0, 3)]
    assert len(schedule(4 / 3, 120)) == 90


def budgeted(
    kind: str, passes: float, scenario: str = "si_blurry", every: int | None = 16, **changes: Any
) -> Any:
    anytime = AnytimeEvaluation(Blobs(24, seed=2), n_classes=6, every=every)
    plugins = [Budget(passes=passes), anytime]
    settings = {"train_mb_size": 8, "online_iter": 1, **changes}
    return make(kind, scenario, plugins=plugins, **settings)


@pytest.mark.parametrize("passes", [0.4, 1.0, 5.0])
@pytest.mark.parametrize("kind", ["mvp", "er", "recommended"])
def test_training_never_costs_more_than_the_budget_and_one_update(kind: str, passes: float) -> None:
    strategy = fit(budgeted(kind, passes), experiences("si_blurry"))
    budget, cost = strategy.budget, strategy.loop.cost
    images = strategy.samples_seen
    assert images == 72
    update = 8 * cost.update
    dearest = max(update, cost.passes - passes * images)
    assert dearest < 2.1 * update + passes * 8
    if passes == 5.0 and kind != "recommended":  # which learns a sample once
        assert budget.trained == images
        assert strategy.updates >= 20  # two on each of the ten batches
    assert budget.credit <= 8 * passes, "idle time is lost"
    assert 0 < budget.trained <= images
    assert budget.arrived.all()


def test_evaluations_see_the_state_before_a_running_update() -> None:
    """MVP at 0.4 F is busy after its second update, and still answers as after the first."""
    strategy = budgeted("mvp", 0.4)
    images, answers = Blobs(6).images, []

    class Look(BaseSGDPlugin):
        def after_training_iteration(self, strategy: Any, **kwargs: object) -> None:
            answers.append(scores(strategy, images))
            if len(answers) == 2:
                assert strategy.budget.credit < 0
                answers.append(strategy.budget.served(images))

    strategy.plugins.append(Look())
    fit(strategy, experiences("si_blurry"))
    first, second, served = answers[:3]
    assert first.isfinite().any()
    assert torch.equal(first, served)
    assert not torch.equal(second, served)


@pytest.mark.parametrize("kind", ["mvp", "multi_lane", "recommended", "fine_tuning", "clib"])
def test_evaluations_do_not_change_training(kind: str) -> None:
    """MULTI-LANE opens lanes while it is busy; solutions are charged whenever they are read."""
    often, never = (
        fit(budgeted(kind, 0.4, every=every), experiences("si_blurry")) for every in (8, None)
    )
    assert same(weights(often), weights(never))
    assert often.budget.credit == never.budget.credit
    trained = {id(p) for p in often.model.parameters() if p.requires_grad}
    assert trained <= {id(p) for group in often.optimizer.param_groups for p in group["params"]}


def test_a_model_may_grow_while_it_is_busy() -> None:
    stream = experiences("si_blurry")
    strategy = budgeted("one_prompt", 0.3, every=8)
    fit(strategy, stream[:1])
    strategy.grow(2)
    fit(strategy, stream[1:])
    assert strategy.model.n_classes == len(strategy.budget.arrived) == 8


def test_images_that_a_plugin_replays_do_not_arrive() -> None:
    stream = experiences("class_incremental")
    spent = []
    for plugins in ([], [ReplayPlugin(mem_size=16)]):
        torch.manual_seed(0)
        limited = [Budget(passes=0.6), *plugins]
        probe = make("linear_probe", train_mb_size=4, online_iter=1, plugins=limited)
        fit(probe, stream)
        spent.append(probe.loop.cost.passes / probe.samples_seen)
    assert max(spent) < 0.75


@pytest.mark.parametrize("kind", ["mvp", "recommended", "clib"])
def test_a_run_with_a_budget_resumes_exactly(kind: str) -> None:
    whole = fit(budgeted(kind, 0.8), experiences("si_blurry"))
    for batches in (2, 5):
        stream = experiences("si_blurry")
        state = stopped_after(budgeted(kind, 0.8), stream, batches)
        second = resumed(budgeted(kind, 0.8), state, stream)
        assert same(weights(whole), weights(second))
        assert whole.budget.credit == second.budget.credit
        assert whole.loop.cost.macs == second.loop.cost.macs


@pytest.mark.parametrize("kind", [kind for kind in TABLE if kind not in ("joint", "joint_probe")])
def test_the_cost_of_training_is_what_a_counter_sees(kind: str) -> None:
    """What is counted once for each kind of update is what all operations of a run come to."""
    strategy = make(kind, "class_incremental", train_mb_size=4)
    strategy.loop.cost.active = True
    stream = experiences("class_incremental", train=12)[:2]
    with MACCounter() as counter:
        fit(strategy, stream)
    assert strategy.loop.cost.macs == pytest.approx(counter.macs, rel=0.01)


@pytest.mark.parametrize("kind", ["mvp", "smope", "er"])
def test_the_counter_agrees_with_that_of_torch(kind: str) -> None:
    stream = experiences("class_incremental")[:1]
    with MACCounter() as counter:
        fit(make(kind, "class_incremental"), stream)
    counted = count_of(lambda: fit(make(kind, "class_incremental"), stream))
    assert counter.macs == pytest.approx(counted, rel=0.01)


def test_epochs_end_when_the_budget_of_their_task_is_spent() -> None:
    stream = experiences("class_incremental")[:1]
    images = len(stream[0].dataset)
    free = make("linear_probe", "class_incremental", online_iter=1, train_epochs=4)
    free.loop.cost.active = True
    fit(free, stream)
    cost = free.loop.cost.passes / 4
    half = budgeted(
        "linear_probe", 2.5 * cost / images, "class_incremental", train_epochs=4, train_mb_size=16
    )
    fit(half, stream)
    assert half.samples_seen == pytest.approx(2.5 * images, abs=16)


def test_refusals() -> None:
    with pytest.raises(InputError, match="Budget replaces online_iter: leave one of them out"):
        make("mvp", plugins=[Budget()])
    with pytest.raises(InputError, match="trains on the whole stream at once"):
        make("joint", plugins=[Budget()])
    tiny = budgeted("linear_probe", 0.01, "class_incremental", train_epochs=2)
    with pytest.raises(InputError, match=r"budget 0\.01 is below the cost of one update"):
        fit(tiny, experiences("class_incremental"))
