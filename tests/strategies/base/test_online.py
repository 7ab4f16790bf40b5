"""The online protocol: samples that are offered, task ends, rates, gradients, and the classes that
compete."""

from itertools import groupby
from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.core import SupervisedPlugin
from torch import Tensor

from cl_prompts.strategies.base.experience import classes_of
from cl_prompts.strategies.base.stream import Batch
from tests.strategies.shared import noted, stream_batch
from tests.toy_data import N_CLASSES, TRAIN, Blobs, experiences
from tests.toys import PROTOTYPES, TABLE, cls_of, fit, make, same, watch, weights


def some_batch(strategy: Any, labels: list[int]) -> Batch:
    return stream_batch(strategy, Blobs(len(labels), seed=5).images, torch.tensor(labels))


def test_every_sample_is_offered_to_the_buffer_once_in_the_first_epoch() -> None:
    strategy = make("er", buffer_size=200, train_epochs=3)
    offered = noted(strategy, "remember", lambda rows, *_: len(rows), experiences())
    assert sum(offered) == len(strategy.buffer) == TRAIN
    references = {tuple(reference) for reference in strategy.buffer.slots[:TRAIN].tolist()}
    assert len(references) == TRAIN
    assert strategy.samples_seen == 3 * TRAIN


@pytest.mark.parametrize("boundaries", [None, True])
def test_task_ends_are_announced_or_come_every_period(boundaries: bool | None) -> None:
    strategy = make("rainbow", boundaries=boundaries)
    stream = experiences()
    at = noted(strategy, "finish_task", lambda: strategy.samples_seen, stream)
    if boundaries:
        assert at == torch.tensor([len(e.dataset) for e in stream]).cumsum(0).tolist()
    else:  # every 40 samples, at the end of a batch
        assert [point // 40 for point in at] == [1]
        assert 40 <= at[0] < 40 + 16


def test_a_schedule_runs_over_the_epochs_of_an_experience() -> None:
    strategy = make("linear_probe", schedule="cosine", train_epochs=3, lr=0.1)
    (group,) = strategy.optimizer.param_groups
    stream = experiences("class_incremental")[:2]
    rates = noted(strategy, "training_loss", lambda *_: group["lr"], stream)
    by_epoch = [rate for rate, _ in groupby(rates)]
    assert by_epoch == pytest.approx([0.1, 0.075, 0.025, 0.1, 0.075, 0.025])


def test_gradients_are_clipped_by_their_global_norm() -> None:
    strategy = make("fine_tuning", clip_norm=0.01)
    stream = experiences("class_incremental")[:1]

    def total() -> Tensor:
        gradients = (p.grad for p in strategy.model.parameters() if p.grad is not None)
        return torch.stack([gradient.norm() for gradient in gradients]).norm()

    norms = noted(strategy, "optimizer_step", total, stream)
    assert float(max(norms)) == pytest.approx(0.01, rel=1e-3)


class Darken(SupervisedPlugin):
    """Puts darker images in the place of a batch's, as plugins of Avalanche do."""

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        strategy.mbatch = [strategy.mb_x * 0.5, *strategy.mbatch[1:]]


def test_a_batch_replaced_by_a_plugin_is_used_in_training() -> None:
    stream = experiences()[:2]
    plain, dark = (fit(make("linear_probe", plugins=p), stream) for p in ([], [Darken()]))
    assert not same(weights(plain), weights(dark))


def test_periods_end_at_their_multiples_whatever_the_batches() -> None:
    (first, *_) = experiences("class_incremental", train=60)
    assert len(first.dataset) == 20  # a batch of 16, which is longer than two periods, and one of 4
    strategy = make("rainbow", boundaries=False, period=7)
    at = noted(strategy, "finish_task", lambda: strategy.samples_seen, [first])
    assert at == [16]


@pytest.mark.parametrize(
    "kind", [kind for kind in TABLE if kind not in (*PROTOTYPES, "multi_lane", "joint")]
)
def test_rows_of_classes_outside_the_batch_do_not_move(kind: str) -> None:
    settings = {"class_mask": "batch", "weight_decay": 0.0}
    known = {name: value for name, value in settings.items() if name in cls_of(kind).settings()}
    strategy = make(kind, **known)
    strategy.model.observe_classes(torch.arange(N_CLASSES))
    head = strategy.model.head
    rows = head.experts[0] if kind == "mixture_prompt" else head.weight
    before = rows.detach().clone()
    strategy.model.zero_grad()
    batch = some_batch(strategy, [0, 2, 2, 5])
    strategy.training_loss(strategy.training_output(batch), batch).backward()
    strategy.optimizer.step()
    moved = (rows != before).any(dim=1)
    assert moved.tolist() == [True, False, True, False, False, True]


@pytest.mark.parametrize("kind", ["er", "derpp"])
def test_replayed_labels_compete(kind: str) -> None:
    strategy = make(kind, class_mask="batch", online_iter=1)
    strategy.model.observe_classes(torch.arange(N_CLASSES))
    labels = torch.tensor([0, 1, 0, 1, 2, 2, 3, 3])
    images = Blobs(8, seed=5).images
    batch = Batch([images, labels], strategy.annotated, torch.tensor([0, 1, 2, 3]))
    output = strategy.training_output(batch)
    strategy.model.zero_grad()
    strategy.label_loss(output.logits, batch, slice(4)).backward()
    moved = (strategy.model.head.weight.grad != 0).any(dim=1)
    assert moved.tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("kind", ["er", "derpp", "ewcpp"])
def test_replayed_samples_keep_the_annotated_classes_of_their_task(kind: str) -> None:
    strategy = make(kind, "mlcil")
    stream = experiences("mlcil")
    seen: list[tuple[Tensor, int]] = []

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


def test_references_follow_a_shuffled_order() -> None:
    strategy = make("mvp_r", buffer_size=1000)
    foreign: Any = nc_benchmark(
        Blobs(60, seed=1), Blobs(30, seed=2), n_experiences=2, task_labels=False, seed=1
    )
    fit(strategy, foreign.train_stream)
    references = strategy.buffer.slots[: len(strategy.buffer)].tolist()
    assert sorted(map(tuple, references)) == [(s, r) for s in range(2) for r in range(30)]
    assert references[:30] != sorted(references[:30])  # foreign streams are shuffled


@pytest.mark.parametrize(("new", "kept"), [(True, False), (False, True)])
def test_an_announced_task_may_begin_with_a_fresh_optimizer(new: bool, kept: bool) -> None:
    strategy = make("linear_probe", new_optimizer=new)
    stream = experiences("class_incremental")
    fit(strategy, stream[:1])
    optimizer = strategy.optimizer
    first, *_ = noted(strategy, "training_loss", lambda *_: len(optimizer.state), stream[1:2])
    assert (first > 0) == kept
