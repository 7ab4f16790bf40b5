"""The training loop that all strategies share: settings, optimizer, buffer, state."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin

from cl_prompts.errors import InputError, RunError
from cl_prompts.strategies import MVP, LinearProbe
from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.labels import classes_of
from tests.toys import (
    N_CLASSES,
    TRAIN,
    Blobs,
    benchmark,
    experiences,
    fit,
    make,
    tiny_vit,
    watch,
)


def test_one_model_or_what_builds_it() -> None:
    for given in ({"n_classes": 3}, {"backbone": tiny_vit()}, {}):
        with pytest.raises(InputError, match="give either model= or both backbone= and n_classes="):
            MVP(**given)
    model = make("mvp").model
    assert make("mvp", model=model).model is model


def test_every_sample_is_offered_to_the_buffer_once_in_the_first_epoch() -> None:
    strategy, offered = make("er", buffer_size=200, train_epochs=3), []
    watch(strategy, "remember", lambda rows, batch, output: offered.append(rows))
    fit(strategy, experiences())
    assert sum(len(rows) for rows in offered) == TRAIN
    assert len(strategy.buffer) == TRAIN
    references = {tuple(reference) for reference in strategy.buffer.slots[:TRAIN].tolist()}
    assert len(references) == TRAIN
    assert strategy.samples_seen == 3 * TRAIN


def test_references_follow_a_shuffled_order() -> None:
    strategy = make("mvp_r", buffer_size=1000)
    foreign: Any = nc_benchmark(
        Blobs(60, seed=1), Blobs(30, seed=2), n_experiences=2, task_labels=False, seed=1
    )
    fit(strategy, foreign.train_stream)
    references = strategy.buffer.slots[: len(strategy.buffer)].tolist()
    assert sorted(map(tuple, references)) == [(s, r) for s in range(2) for r in range(30)]
    assert references[:30] != sorted(references[:30])  # foreign streams are shuffled
    assert strategy.replay.labels().tolist() == [
        int(foreign.train_stream[s].dataset.targets[r]) for s, r in references
    ]


@pytest.mark.parametrize("kind", ["er", "derpp", "ewcpp"])
def test_replayed_samples_keep_the_annotated_classes_of_their_task(kind: str) -> None:
    strategy, stream, seen = make(kind, "mlcil"), experiences("mlcil"), []

    def note(output: Any, batch: Batch) -> None:
        if len(batch.slots):
            sources = strategy.buffer.slots[batch.slots, 0].tolist()
            rows = zip(batch.annotated[batch.n_stream :], sources, strict=True)
            seen.extend((row.clone(), source) for row, source in rows)
            assert torch.equal(batch.annotated[0], strategy.annotated)

    watch(strategy, "training_loss", note)
    fit(strategy, stream[:2])
    assert {source for _, source in seen} == {0, 1}
    assert all(torch.equal(row, classes_of(stream[source], N_CLASSES)) for row, source in seen)


@pytest.mark.parametrize("kind", ["lwf", "ewcpp", "rainbow"])
def test_task_ends_are_announced_or_come_every_period(kind: str) -> None:
    for boundaries in (None, True):
        strategy, at = make(kind, boundaries=boundaries), []
        watch(strategy, "finish_task", lambda s=strategy, at=at: at.append(s.samples_seen))
        fit(strategy, stream := experiences())
        ends = torch.tensor([len(e.dataset) for e in stream]).cumsum(0).tolist()
        if boundaries:
            assert at == ends
        else:  # every 40 samples, at the end of a batch
            assert [point // 40 for point in at] == [1]
            assert 40 <= at[0] < 40 + 16


@pytest.mark.parametrize(("new", "kept"), [(True, False), (False, True)])
def test_an_announced_task_may_begin_with_a_fresh_optimizer(new: bool, kept: bool) -> None:
    strategy, stream = make("linear_probe", new_optimizer=new), experiences("class_incremental")
    fit(strategy, stream[:1])
    states: list[int] = []

    def note(output: Any, batch: Batch) -> None:
        states.append(len(strategy.optimizer.state))

    watch(strategy, "training_loss", note)
    fit(strategy, stream[1:2])
    assert (states[0] > 0) == kept


def test_a_schedule_runs_over_the_epochs_of_an_experience() -> None:
    strategy, rates = make("linear_probe", schedule="cosine", train_epochs=3, lr=0.1), []
    watch(
        strategy,
        "training_loss",
        lambda output, batch: rates.append(strategy.optimizer.param_groups[0]["lr"]),
    )
    fit(strategy, experiences("class_incremental")[:2])
    by_epoch = [rate for rate, _ in groupby(rates)]
    assert by_epoch == pytest.approx([0.1, 0.075, 0.025, 0.1, 0.075, 0.025])


def test_gradients_are_clipped_by_their_global_norm() -> None:
    strategy, norms = make("fine_tuning", clip_norm=0.01), []

    def note() -> None:
        gradients = [p.grad for p in strategy.model.parameters() if p.grad is not None]
        norms.append(float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt()))

    watch(strategy, "optimizer_step", note)
    fit(strategy, experiences("class_incremental")[:1])
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_not_a_number_says_where() -> None:
    strategy = make("linear_probe", lr=1.0)
    with torch.no_grad():
        strategy.model.head.bias[:] = float("nan")
    with pytest.raises(RunError, match="loss became nan after 0 samples"):
        fit(strategy, experiences())


def test_parameter_groups_survive_and_new_parameters_join_the_first() -> None:
    model = make("mvp").model
    groups = [
        {"params": list(model.head.parameters()), "lr": 0.1},
        {"params": list(model.pools.parameters()), "lr": 0.2},
    ]
    optimizer = torch.optim.SGD(groups)
    strategy = make("mvp", model=model, optimizer=optimizer)
    fit(strategy, experiences())
    assert strategy.optimizer is optimizer
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.2]
    sizes = [len(g["params"]) for g in optimizer.param_groups]
    assert sizes == [4, 2]  # keys and mask joined the first group


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_mb_size": 0}, "train_mb_size is 0"),
        ({"online_iter": 0}, "online_iter is 0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"period": -5}, "period is -5"),
        ({"device": "gpux"}, "device 'gpux' is not available"),
        ({"buffer_size": -1}, "buffer_size is -1"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'"),
        ({"poolsize": 3}, "'poolsize'"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make("linear_probe", **changes)


def test_single_label_metrics_are_refused_and_the_default_ones_measure_map() -> None:
    evaluator = EvaluationPlugin(accuracy_metrics(experience=True))
    with pytest.raises(InputError, match="one label per image"):
        make("linear_probe", "mlcil", evaluator=evaluator)
    settings = {"multi_label": True, "device": "cpu", "train_mb_size": 16}
    strategy = LinearProbe(backbone=tiny_vit(), n_classes=6, **settings)
    bench = benchmark("mlcil")
    strategy.train(bench.train_stream[0], eval_streams=[])
    assert any("MeanAP" in name for name in strategy.eval(bench.test_stream[0]))


def test_logits_given_to_avalanche_are_finite() -> None:
    strategy, finite = make("linear_probe", "class_incremental"), []

    class Look(SupervisedPlugin):
        def after_forward(self, strategy: Any, **kwargs: Any) -> None:
            finite.append(bool(strategy.mb_output.isfinite().all()))

    strategy.plugins.append(Look())
    fit(strategy, experiences("class_incremental")[:1])
    assert finite
    assert all(finite)
