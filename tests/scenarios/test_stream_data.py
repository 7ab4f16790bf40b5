"""Multi-hot targets, sets of classes, and marks of the stream in the parts that Avalanche makes of
it."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_with_validation_stream, split_online_stream
from avalanche.benchmarks.utils import DataAttribute
from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.scenarios.stream_data import CARRIED, ClassSet, MaskedLabels, MultiHotTargets
from cl_prompts.strategies.base.experience import mark_of
from tests.scenarios.images import MULTI, make_benchmark
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
    assert str(targets) == "<4 multi-hot targets, 2 of 3 classes visible>"
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


def test_masked_labels_replace_those_of_the_data_set() -> None:
    train, _ = MULTI
    mask = np.arange(12) < 5
    data = MaskedLabels(train, MultiHotTargets(train.targets, mask=mask))
    assert len(data) == len(train)
    image, y = data[7]
    assert torch.equal(image, train[7][0])
    assert y.dtype == torch.float32
    assert y.tolist() == (train.targets[7] * mask).tolist()


# Sets of classes


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 6), st.integers(0, 6))
def test_it_is_the_set_of_its_bounds(values: list[int], low: int, high: int) -> None:
    array = np.array(values, dtype=np.int32)
    other = np.arange(len(values)) % 2
    found = ClassSet((array, low, high), (other, 1, 2))
    want = {c for c, value in enumerate(values) if low <= value < high and c % 2}
    assert found == want
    assert want == found
    assert (len(found), sorted(found), set(found)) == (len(want), sorted(want), want)
    assert [c in found for c in range(-2, 25)] == [c in want for c in range(-2, 25)]
    more = {1, 3, 40}
    for a, b in ((found, want), (more, want)):
        assert found | a == want | b | (a if a is more else set())
    assert found & more == want & more
    assert more - found == more - want
    assert (found <= more) == (want <= more)
    assert isinstance(found | more, set)
    assert pickle.loads(pickle.dumps(found)) == want


@pytest.mark.parametrize("item", ["1", 1.5, None, (1,)])
def test_what_is_no_class_is_not_in_it(item: object) -> None:
    assert item not in ClassSet((np.ones(3), 1, 2))
    assert np.int64(1) in ClassSet((np.ones(3), 1, 2))


def test_sets_share_one_array() -> None:
    first = np.arange(10_000)
    sets = [ClassSet((first, 0, index)) for index in range(1000)]
    assert len(sets[999]) == 999
    own = sum(sys.getsizeof(s) + sys.getsizeof(vars(s)) for s in sets)
    assert own < 1_000_000
