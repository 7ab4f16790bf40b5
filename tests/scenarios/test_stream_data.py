"""Multi-hot targets, sets of classes, and marks of the stream in the parts that Avalanche makes of
it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_with_validation_stream, split_online_stream
from avalanche.benchmarks.utils import DataAttribute

from cl_prompts.scenarios.stream_data import CARRIED, MultiHotTargets
from cl_prompts.strategies.base.experience import mark_of
from tests.scenarios.images import make_benchmark
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
        n = len(kept.dataset)
        assert n + len(held_out.dataset) == len(origin.dataset)
    assert whole.split.n_tasks == len(whole.train_stream)  # the first benchmark is as it was


@pytest.mark.parametrize("scenario", MARKS)
def test_an_online_stream_keeps_the_marks(scenario: str) -> None:
    whole = benchmark(scenario)
    pieces = list(split_online_stream(whole.train_stream, 10, shuffle=False))
    assert {marks(piece) for piece in pieces} == {MARKS[scenario]}


def test_parts_of_streams_without_an_order_may_be_shuffled() -> None:
    made = benchmark_with_validation_stream(benchmark("class_incremental"), 0.2, shuffle=True)
    strategy = make("linear_probe", "class_incremental")
    strategy.train(made.train_stream[0], eval_streams=[])
    assert strategy.tasks_started == 1


def test_multi_hot_targets() -> None:
    matrix = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=np.uint8)
    targets = MultiHotTargets(matrix, mask=np.array([True, False, True]))
    assert len(targets) == 4
    assert targets.uniques == {0, 2}
    assert targets.val_to_idx == {0: [0, 3], 2: [0, 1]}
    assert targets.count == {0: 2, 2: 2}
    assert targets[1].tolist() == [0, 0, 1]
    assert targets[1:3].tolist() == [[0, 0, 1], [0, 0, 0]]
    for rows in ([3, 1], np.array([3, 1]), torch.tensor([3, 1])):
        part = targets.subset(rows)
        assert isinstance(part, MultiHotTargets)
        assert part.matrix is matrix
        assert part.data.tolist() == [[1, 0, 0], [0, 0, 1]]
        assert part.val_to_idx == {0: [0], 2: [1]}
    assert targets.subset([]).uniques == set()
    same = targets.subset([0]).concat(targets.subset([3]))
    assert same.matrix is matrix
    assert same.data.tolist() == [[1, 0, 1], [1, 0, 0]]
    # With other masks each part keeps its own.
    both = targets.concat(MultiHotTargets(matrix).subset([1]))
    assert both.data.tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 1]]
    with pytest.raises(TypeError, match="multi-hot targets cannot be joined with DataAttribute"):
        targets.concat(DataAttribute([1, 2], "targets"))


def test_joined_experiences_keep_their_masks() -> None:
    benchmark = make_benchmark("mlcil", protocol="B0-C4")
    first, second = (benchmark.train_stream[t].dataset for t in (0, 1))
    joined = first.concat(second).subset([0, len(first)]).train().eval()
    assert isinstance(joined.targets, MultiHotTargets)
    expected = [first[0][1], second[0][1]]
    assert torch.equal(torch.stack(list(joined.targets)), torch.stack(expected))
    assert torch.equal(torch.stack([joined[i][1] for i in range(2)]), torch.stack(expected))
