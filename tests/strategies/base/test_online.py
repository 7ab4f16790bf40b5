"""Base of the strategies: construction, replay, and settings that contradict each other."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from torch import Tensor

from cl_prompts.strategies import OnlineStrategy
from cl_prompts.strategies.base.experience import classes_of
from cl_prompts.strategies.base.stream import Batch
from tests.strategies.shared import noted
from tests.toy_data import N_CLASSES, Blobs, experiences
from tests.toys import fit, make, watch


def test_what_a_run_sets_is_no_setting() -> None:
    assert not {"between_batches", "place", "state"} & OnlineStrategy.settings().keys()


# ------------------------------------------------------------------------- replay


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
    assert strategy.replay.labels().tolist() == [
        int(foreign.train_stream[s].dataset.targets[r]) for s, r in references
    ]


# ------------------------------------------------------------------------- tasks


@pytest.mark.parametrize(("new", "kept"), [(True, False), (False, True)])
def test_an_announced_task_may_begin_with_a_fresh_optimizer(new: bool, kept: bool) -> None:
    strategy = make("linear_probe", new_optimizer=new)
    stream = experiences("class_incremental")
    fit(strategy, stream[:1])
    optimizer = strategy.optimizer
    first, *_ = noted(strategy, "training_loss", lambda *_: len(optimizer.state), stream[1:2])
    assert (first > 0) == kept


# ------------------------------------------------------------------------- class_mask="batch"


def test_small_batches_are_warned_of_once() -> None:
    with pytest.warns(UserWarning, match="train_mb_size=7: a batch of one class") as caught:
        make("one_prompt", class_mask="batch", train_mb_size=7)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("one_prompt", class_mask="batch", train_mb_size=8)
        make("one_prompt", class_mask="seen", train_mb_size=7)
