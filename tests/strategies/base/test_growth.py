"""Growth of one strategy: its plugins, its optimizer, and what it refuses."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import CLExperience, split_online_stream
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin

from cl_prompts.errors import InputError
from cl_prompts.scenarios import Split, benchmark_from_split
from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import Blobs, benchmark, experiences
from tests.toy_vits import lively_vit
from tests.toys import close, fit, make, same, weights


def with_more_classes(n_classes: int, *, only: list[int]) -> CLExperience:
    """An experience of some of the classes of a larger data set."""
    data = Blobs(6 * n_classes, n_classes, seed=4)
    rows = np.flatnonzero(np.isin(data.targets, only))
    split = Split.of("later", data.targets, [rows])
    return benchmark_from_split(data, data, split).train_stream[0]


def test_rows_do_not_depend_on_how_many_classes_come_together() -> None:
    at_once = make("linear_probe")
    at_once.grow(["plane", "ship"])
    one_by_one = make("linear_probe")
    one_by_one.grow(1)
    one_by_one.grow(1)
    other = make("linear_probe", seed=1)
    other.grow(2)
    assert same(weights(at_once), weights(one_by_one))
    assert not torch.equal(at_once.model.head.weight[6:], other.model.head.weight[6:])
    assert at_once.model.head.weight[6:].std() > 0


def test_what_was_learned_and_global_random_numbers_stay() -> None:
    strategy = fit(make("mvp_r"), experiences())
    before = weights(strategy)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    strategy.grow(2)
    assert torch.equal(torch.rand(3), expected)
    after = weights(strategy)
    assert torch.equal(after["head.weight"][:6], before["head.weight"])
    assert torch.equal(after["pools.0.values"], before["pools.0.values"])
    assert after["seen"].tolist() == [True] * 6 + [False] * 2
    momentum = strategy.optimizer.state[strategy.model.head.weight]["exp_avg"]
    assert momentum[:6].abs().sum() > 0
    assert momentum[6:].abs().sum() == 0


def test_plugins_counters_and_place_in_the_run_are_kept() -> None:
    anytime = AnytimeEvaluation(Blobs(30, 8), every=30)
    foreign = EWCPlugin(ewc_lambda=0.1)
    strategy = make("linear_probe", plugins=[anytime, foreign])
    fit(strategy, experiences())
    points = len(anytime.curve.anytime)
    seen = strategy.samples_seen
    strategy.grow(2)
    fit(strategy, [with_more_classes(8, only=[1, 6, 7])])
    assert [p for p in strategy.plugins if p in (anytime, foreign)] == [anytime, foreign]
    assert strategy.samples_seen == seen + 18
    assert len(anytime.curve.anytime) > points
    assert anytime.n_classes == 8


def test_settings_that_were_assigned_stay_so_after_growth() -> None:
    assigned = {"train_epochs": 1, "train_mb_size": 14, "eval_mb_size": 7, "clip_norm": 0.1}
    strategy = fit(make("linear_probe", train_epochs=3, n_classes=6), experiences())
    vars(strategy).update(assigned)
    strategy.optimizer.param_groups[0]["lr"] = 0.125
    updates = strategy.clock.train_iterations
    strategy.grow(2)
    assert strategy.values_of(*assigned) == assigned
    assert strategy.n_classes == 8
    assert strategy.optimizer.param_groups[0]["lr"] == 0.125
    assert strategy.clock.train_iterations == updates > 0


def test_an_optimizer_that_was_assigned_and_its_schedule_go_on() -> None:
    strategy = fit(make("linear_probe", n_classes=6), experiences())
    head = strategy.model.head
    groups = [{"params": [head.weight], "lr": 0.5}, {"params": [head.bias], "lr": 0.25}]
    strategy.optimizer = torch.optim.SGD(groups, momentum=0.5)
    schedule = torch.optim.lr_scheduler.StepLR(strategy.optimizer, 1, gamma=0.5)
    strategy.grow(2)
    strategy.optimizer.step()
    schedule.step()
    first, second = strategy.optimizer.param_groups
    assert type(strategy.optimizer) is torch.optim.SGD
    assert first["params"][0] is strategy.model.head.weight
    assert second["params"][0] is strategy.model.head.bias
    assert (first["lr"], second["lr"]) == (0.25, 0.125)


def test_what_was_frozen_stays_so_after_growth() -> None:
    strategy = fit(make("mvp"), experiences()[:1])
    strategy.model.head.weight.requires_grad_(False)
    before = weights(strategy)["head.weight"]
    strategy.grow(1)
    fit(strategy, experiences()[1:])
    assert torch.equal(strategy.model.head.weight[:6], before)


def test_a_grown_strategy_resumes_in_one_of_its_size() -> None:
    strategy = fit(make("lwf"), experiences())
    strategy.grow(2)
    later = [with_more_classes(8, only=[1, 6, 7])]
    resumed = make("lwf", n_classes=8)
    resumed.load_state_dict(deepcopy(strategy.state_dict()), experiences())
    assert same(weights(fit(strategy, later)), weights(fit(resumed, later)))


def test_a_growing_head_follows_the_experiences() -> None:
    growing = make("linear_probe", growing=True)
    later = [with_more_classes(8, only=[1, 6]), with_more_classes(9, only=[8])]
    fit(growing, [*experiences(), *later])
    by_hand = fit(make("linear_probe"), experiences())
    by_hand.grow(2)
    fit(by_hand, later[:1])
    by_hand.grow(1)
    fit(by_hand, later[1:])
    # Not to the bit: products with heads of other sizes may be summed in another order.
    close(weights(growing), weights(by_hand))
    assert growing.model.seen.tolist() == [True] * 7 + [False, True]


class Darker(SupervisedPlugin):
    """Changes batches of evaluation."""

    def before_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.mbatch[0] = strategy.mbatch[0] / 2


def test_classes_that_a_growing_head_has_not_met_count_as_wrong() -> None:
    stream = benchmark("class_incremental")
    found = []
    for settings in ({"growing": True, "n_classes": 1}, {}):
        evaluator = EvaluationPlugin(accuracy_metrics(stream=True), loss_metrics(stream=True))
        strategy = make("ncm", evaluator=evaluator, plugins=[Darker()], **settings)
        fit(strategy, stream.train_stream[:1])
        found.append(strategy.eval(stream.test_stream))
    assert found[0] == found[1]
    assert 0 < next(iter(found[0].values())) < 1


def test_growth_that_the_method_cannot_have_leaves_it_as_it_was() -> None:
    strategy = make("coda_prompt", "class_incremental")
    fit(strategy, experiences("class_incremental")[:1])
    before = weights(strategy)
    with pytest.raises(InputError, match="18 components cannot be orthogonal"):
        strategy.grow(2, tasks=3)
    assert same(before, weights(strategy))
    fit(strategy, experiences("class_incremental")[1:])
    untouched = fit(make("coda_prompt", "class_incremental"), experiences("class_incremental"))
    assert same(weights(untouched), weights(strategy))


def test_refusals() -> None:
    with pytest.raises(InputError, match="Joint learns all of a stream at once"):
        make("joint").grow(1)
    probe = make("linear_probe")
    with pytest.raises(InputError, match="was given its model ready-made"):
        make("linear_probe", model=probe.model).grow(1)
    given = make("linear_probe", backbone=lively_vit())
    given.given["optimizer"] = given.optimizer
    with pytest.raises(InputError, match="was given its optimizer ready-made"):
        given.grow(1)
    for classes in (-1, 1.5, "ship", ["ship", "ship"], [6, 7]):
        with pytest.raises(InputError, match="classes"):
            probe.grow(classes)


def test_without_room_a_later_class_is_refused() -> None:
    with pytest.raises(InputError, match="label 7 at positions 0, 1"):
        fit(make("linear_probe"), [with_more_classes(8, only=[7])])


def test_a_trainable_backbone_goes_on_counting_its_passes() -> None:
    strategy = fit(make("fine_tuning"), experiences())
    counts = strategy.model.backbone.counter.counts()
    strategy.grow(2)
    assert strategy.model.backbone.counter.counts() == counts
    assert counts.images > 0


def test_it_grows_with_the_first_piece_of_a_task() -> None:
    task = with_more_classes(8, only=[0, 7])
    pieces = split_online_stream([task], 1, access_task_boundaries=True)
    piece = next(piece for piece in pieces if list(piece.dataset.targets) == [0])
    strategy = make("ncm", n_classes=1, growing=True)
    fit(strategy, [piece])
    assert strategy.model.n_classes == 8
