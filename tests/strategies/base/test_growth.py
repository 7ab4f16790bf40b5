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
from cl_prompts.models.prototype_classifiers import PooledScatter
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


def test_settings_that_were_assigned_stay_so_after_growth_and_forgetting() -> None:
    assigned = {"train_epochs": 1, "train_mb_size": 14, "eval_mb_size": 7, "clip_norm": 0.1}
    strategy = fit(make("linear_probe", train_epochs=3, n_classes=6), experiences())
    vars(strategy).update(assigned)
    strategy.optimizer.param_groups[0]["lr"] = 0.125
    updates = strategy.clock.train_iterations
    for change in (lambda: strategy.grow(2), lambda: strategy.forget([0])):
        change()
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
    for change in (lambda: strategy.grow(2), lambda: strategy.forget([0])):
        change()
        strategy.optimizer.step()
        schedule.step()
        first, second = strategy.optimizer.param_groups
        assert type(strategy.optimizer) is torch.optim.SGD
        assert first["params"][0] is strategy.model.head.weight
        assert second["params"][0] is strategy.model.head.bias
    assert (first["lr"], second["lr"]) == (0.125, 0.0625)


def test_what_was_frozen_stays_so_after_growth_and_forgetting() -> None:
    strategy = fit(make("mvp"), experiences()[:1])
    strategy.model.head.weight.requires_grad_(False)
    before = weights(strategy)["head.weight"]
    strategy.grow(1)
    strategy.forget([6])
    fit(strategy, experiences()[1:])
    assert torch.equal(strategy.model.head.weight[:6], before)


def test_classes_are_forgotten_where_one_more_would_not_fit_into_memory() -> None:
    air = fit(make("air", memory_gib=6.5 * 200**2 * 8 / 2**30, projection=200), experiences())
    assert air.model.n_classes == 6
    air.forget([1])
    air.forget([2])
    assert air.model.seen.tolist() == [True, False, False, True, True, True]


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
    with pytest.raises(InputError, match="n_components is 18: no more than the ViT's width, 16"):
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
    before = weights(fit(probe, experiences()))
    for numbers in ([0.0], [True], [-1], [6]):
        with pytest.raises(InputError, match="classes is"):
            probe.forget(numbers)
    assert probe.forget([]) == []
    assert same(before, weights(probe))


def test_without_room_a_later_class_is_refused() -> None:
    with pytest.raises(InputError, match="label 7 occurs, but n_classes is 6"):
        fit(make("linear_probe"), [with_more_classes(8, only=[7])])


@pytest.mark.parametrize("kind", ["mvp", "linear_probe_whitened", "slda", "lwf"])
def test_a_forgotten_class_is_as_new_and_may_come_again(kind: str) -> None:
    strategy = fit(make(kind), experiences())
    before = weights(strategy)
    shared = strategy.forget([2])
    after = weights(strategy)
    assert after["seen"].tolist() == [True, True, False, True, True, True]
    rows = next(name for name in ("head.weight", "head.mean") if name in before)
    others = [0, 1, 3, 4, 5]
    assert torch.equal(after[rows][others], before[rows][others])
    assert not torch.equal(after[rows][2], before[rows][2])
    as_learned = {name for name in shared if name != "head.scatter"}
    assert all(torch.equal(after[name], before[name]) for name in as_learned)
    fit(strategy, [with_more_classes(6, only=[2])])
    assert strategy.model.seen.all()


@pytest.mark.parametrize("kind", ["slda", "balanced_ridge", "randumb", "anacp", "klda"])
def test_the_shared_covariance_stays_when_classes_are_forgotten(kind: str) -> None:
    strategy = fit(make(kind), experiences())

    def covariance() -> torch.Tensor:
        heads = [part for part in strategy.model.modules() if isinstance(part, PooledScatter)]
        return heads[0].scatter / heads[0].count.sum()

    before = covariance()
    strategy.forget([2, 3, 4, 2])
    torch.testing.assert_close(covariance(), before)
    strategy.forget([0, 1, 5])
    assert not strategy.model.seen.any()


@pytest.mark.parametrize("kind", ["layup", "ranpac", "multi_label_ridge"])
def test_held_out_samples_of_a_forgotten_class_are_dropped(kind: str) -> None:
    strategy = fit(make(kind, held_out=100), experiences())
    held = strategy.model.head.held
    features, targets = (rows.clone() for rows in held.kept)
    label = int(targets[0].argmax())
    stay = targets.argmax(dim=1) != label
    strategy.forget([label])
    held = strategy.model.head.held
    assert 0 < len(held) == held.reservoir.offered == int(stay.sum()) < len(features)
    assert torch.equal(held.kept[0], features[stay])
    assert torch.equal(held.kept[1], targets[stay])
    assert not held.features[len(held) :].any()
    assert not held.targets[len(held) :].any()


def test_test_images_of_a_forgotten_class_count_no_more() -> None:
    anytime = AnytimeEvaluation(Blobs(30, 6), every=30)
    strategy = fit(make("ncm", plugins=[anytime]), experiences())
    strategy.forget([2])
    fit(strategy, [with_more_classes(6, only=[0, 1])])
    by_class = anytime.curve.task_ends[-1].by_class
    assert [value == value for value in by_class] == [True, True, False, True, True, True]
    fit(strategy, [with_more_classes(6, only=[2])])
    assert anytime.curve.task_ends[-1].by_class[2] >= 0


@pytest.mark.parametrize("kind", ["er", "derpp", "clib", "rainbow"])
def test_samples_of_a_forgotten_class_leave_the_buffer(kind: str) -> None:
    strategy = fit(make(kind, buffer_size=8, views=1), experiences())
    labels = strategy.replay.labels()
    left = labels[0].item()
    kept = (labels != left).nonzero()[:, 0]
    references = strategy.buffer.slots[kept].clone()
    assert 0 < len(kept) < len(labels)
    # DER++ keeps logits with the samples, CLIB features and importances.
    stored = getattr(strategy, "stored", None)
    logits = None if stored is None else stored.values[kept].clone()
    features = getattr(strategy, "features", None)
    cached = None if features is None else features[kept].clone()
    strategy.forget([left])
    assert torch.equal(strategy.replay.labels(), labels[kept])
    assert torch.equal(strategy.buffer.slots[: len(kept)], references)
    # Nothing is left behind them, or of the frozen pass over images that were forgotten.
    behind = [strategy.buffer.slots]
    behind += [] if stored is None else [strategy.stored.values, strategy.stored.existed]
    behind += [] if features is None else [strategy.features]
    assert not any(rows[len(kept) :].any() for rows in behind)
    assert strategy.feature_cache.state_dict(needed=True)["parts"] == {}
    others = [label for label in range(6) if label != left]
    if logits is not None:
        assert torch.equal(strategy.stored.values[: len(kept), others], logits[:, others])
    if cached is not None:
        assert torch.equal(strategy.features[: len(kept)], cached)
    if kind in ("clib", "rainbow"):
        counts = labels[kept].bincount(minlength=6).tolist()
        assert strategy.buffer.class_counts() == {c: n for c, n in enumerate(counts) if n}
    fit(strategy, [with_more_classes(6, only=others)])
    assert left not in strategy.replay.labels()
    assert len(strategy.replay) == 8  # free places are filled
    with pytest.raises(InputError, match="classes"):
        strategy.forget([6])


def test_a_trainable_backbone_goes_on_counting_its_passes() -> None:
    strategy = fit(make("fine_tuning"), experiences())
    counts = strategy.model.backbone.counter.counts()
    strategy.grow(2)
    assert strategy.model.backbone.counter.counts() == counts
    assert counts.images > 0


def test_the_lanes_of_a_forgotten_class_lose_its_rows_and_it_is_learned_anew() -> None:
    first, *others = experiences("class_incremental")
    strategy = fit(make("multi_lane", "class_incremental"), [first])
    (label, kept) = sorted(strategy.model.lane_of)
    row = strategy.model.lanes.lane(0).parts[0].weight[1].clone()
    strategy.forget([label])
    assert set(strategy.model.lane_of) == {kept}
    assert torch.equal(strategy.model.lanes.lane(0).parts[0].weight[0], row)
    fit(strategy, [*others, first])
    assert strategy.model.lane_of[label] == len(others) + 1
    assert strategy.model.lane_of[kept] == 0


def test_logits_of_a_lane_that_lost_a_class_are_computed_anew() -> None:
    first, second, third = experiences("class_incremental")
    anytime = AnytimeEvaluation(Blobs(30, 6), every=None)
    strategy = make("multi_lane", "class_incremental", plugins=[anytime])
    fit(strategy, [first, second])
    kept, left = sorted(strategy.model.lane_of)[:2]
    strategy.forget([left])
    fit(strategy, [third])
    by_class = anytime.curve.task_ends[-1].by_class
    assert by_class[kept] >= 0
    assert not by_class[left] >= 0


def test_growth_inside_a_task_leaves_its_pace() -> None:
    settings = {"train_epochs": 3, "n_classes": 6}
    strategy = fit(make("aper", "class_incremental", **settings), experiences("class_incremental"))
    seen = strategy.samples_seen
    strategy.grow(1)
    assert (strategy.train_epochs, strategy.online_iter) == (1, 1)
    strategy.forget([0])
    assert (strategy.train_epochs, strategy.samples_seen) == (1, seen)


def test_it_grows_with_the_first_piece_of_a_task() -> None:
    task = with_more_classes(8, only=[0, 7])
    pieces = split_online_stream([task], 1, access_task_boundaries=True)
    piece = next(piece for piece in pieces if list(piece.dataset.targets) == [0])
    strategy = make("ncm", n_classes=1, growing=True)
    fit(strategy, [piece])
    assert strategy.model.n_classes == 8
