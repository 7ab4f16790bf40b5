"""The training loop: replay, task ends, schedule, clipping, and what Avalanche is given."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.core import SupervisedPlugin

from cl_prompts.errors import RunError
from cl_prompts.strategies.base.batch import Batch
from tests.toy_data import TRAIN, Blobs, experiences
from tests.toys import fit, make, watch


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
    with pytest.raises(RunError, match="loss became nan at stream positions from 0 on"):
        fit(strategy, experiences())


def test_logits_given_to_avalanche_are_finite() -> None:
    strategy, finite = make("linear_probe", "class_incremental"), []

    class Look(SupervisedPlugin):
        def after_forward(self, strategy: Any, **kwargs: Any) -> None:
            finite.append(bool(strategy.mb_output.isfinite().all()))

    strategy.plugins.append(Look())
    fit(strategy, experiences("class_incremental")[:1])
    assert finite
    assert all(finite)
