"""Parts of a stream that Avalanche makes still say what the stream is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from avalanche.benchmarks import benchmark_with_validation_stream, split_online_stream
from avalanche.benchmarks.scenarios.dataset_scenario import split_validation_class_balanced
from avalanche.benchmarks.scenarios.online import split_continuous_linear_decay_stream

from cl_prompts.errors import InputError
from cl_prompts.scenarios.stream_data import CARRIED
from cl_prompts.strategies.base.experience import check_order, mark_of
from tests.toy_data import benchmark
from tests.toys import make

MARKS = {"si_blurry": (True, False), "class_incremental": (False, True), "mlcil": (False, True)}


def marks(experience: Any) -> tuple[bool, ...]:
    # Defaults that are wrong for each, so that they cannot hide a lost mark.
    wrong = {"ordered": not mark_of(experience, "ordered", True), "boundaries": False}
    return tuple(mark_of(experience, name, wrong[name]) for name in CARRIED)


@pytest.mark.parametrize("scenario", MARKS)
def test_a_benchmark_with_validation_keeps_the_marks(scenario: str) -> None:
    whole = benchmark(scenario)
    made = benchmark_with_validation_stream(whole, 0.25)
    for kept, held_out, origin in zip(
        made.train_stream, made.valid_stream, whole.train_stream, strict=True
    ):
        assert marks(kept) == marks(held_out) == MARKS[scenario]
        check_order(kept)
        n = len(kept.dataset)
        assert n + len(held_out.dataset) == len(origin.dataset)
        assert list(kept.dataset.stream_position) == list(range(n))
    assert whole.split.n_tasks == len(whole.train_stream)  # the first benchmark is as it was


@pytest.mark.parametrize("scenario", MARKS)
def test_an_online_stream_keeps_the_marks(scenario: str) -> None:
    whole = benchmark(scenario)
    pieces = list(split_online_stream(whole.train_stream, 10, shuffle=False))
    assert {marks(piece) for piece in pieces} == {MARKS[scenario]}
    for piece in pieces:
        check_order(piece)


@pytest.mark.parametrize("cut", ["validation", "balanced", "online", "decay"])
def test_a_shuffled_part_of_an_ordered_stream_is_refused(cut: str) -> None:
    whole = benchmark("si_blurry")
    if cut == "online":
        part: Any = next(iter(split_online_stream(whole.train_stream, 10, seed=1)))
    elif cut == "decay":
        stream = split_continuous_linear_decay_stream(whole.train_stream, 10, 3, 0.5, True)
        part = next(iter(stream))
    elif cut == "balanced":
        made = benchmark_with_validation_stream(
            whole, split_strategy=lambda data: split_validation_class_balanced(0.2, data)
        )
        part = made.train_stream[0]
    else:
        part = benchmark_with_validation_stream(whole, 0.2, shuffle=True, seed=1).train_stream[0]
    with pytest.raises(InputError, match=r"order of their scenario: make it with shuffle=False"):
        make("linear_probe").train(part)


def test_a_validation_part_taken_in_order_trains_in_order() -> None:
    whole = benchmark("si_blurry")

    def every_fourth(data: Any) -> tuple[Any, Any]:
        rows = np.arange(len(data))
        return data.subset(rows[rows % 4 > 0].tolist()), data.subset(rows[::4].tolist())

    made = benchmark_with_validation_stream(whole, split_strategy=every_fourth)
    strategy = make("linear_probe")
    strategy.train(made.train_stream[0], eval_streams=[])
    assert strategy.samples_seen == len(made.train_stream[0].dataset)
    assert strategy.tasks_started == 0  # a blurry stream announces no boundary


def test_parts_of_streams_without_an_order_may_be_shuffled() -> None:
    made = benchmark_with_validation_stream(benchmark("class_incremental"), 0.2, shuffle=True)
    strategy = make("linear_probe", "class_incremental")
    strategy.train(made.train_stream[0], eval_streams=[])
    assert strategy.tasks_started == 1
