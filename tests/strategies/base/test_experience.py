"""Tasks cut into mini-experiences: what a strategy is told of them."""

from __future__ import annotations

from typing import Any

import pytest
from avalanche.benchmarks import split_online_stream
from torch import Tensor

from cl_prompts.strategies import AnytimeEvaluation, LinearProbe
from cl_prompts.strategies.base.experience import TaskPosition, whole_of
from tests.toy_data import benchmark
from tests.toy_vits import tiny_vit
from tests.toys import fit

TASK = 32  # samples


def pieces(stream: Any, size: int, announced: bool = True) -> Any:
    return split_online_stream(
        stream, experience_size=size, access_task_boundaries=announced, shuffle=False
    )


def class_incremental() -> Any:
    return benchmark("class_incremental", train=3 * TASK)


class Noting(LinearProbe):
    """Writes down the task boundaries that it is told of."""

    notes: list[tuple[str, Any]]

    def start_task(self, classes: Tensor) -> None:
        self.notes.append(("start", classes.nonzero().flatten().tolist()))

    def finish_task(self) -> None:
        self.notes.append(("finish", self.samples_seen))


def noting(**settings: Any) -> Noting:
    strategy = Noting(
        backbone=tiny_vit(), n_classes=6, train_mb_size=8, device="cpu", evaluator=None, **settings
    )
    strategy.notes = []
    return strategy


@pytest.mark.parametrize("size", [8, 7, TASK, TASK + 1])
def test_announced_boundaries_are_those_of_the_whole_tasks(size: int) -> None:
    stream = class_incremental()
    anytime = AnytimeEvaluation(stream.test_stream, every=None)
    strategy = noting(plugins=[anytime])
    for experience in pieces(stream.train_stream, size):
        strategy.train(experience, eval_streams=[])
    want = [[("start", [2 * t, 2 * t + 1]), ("finish", (t + 1) * TASK)] for t in range(3)]
    assert strategy.notes == [note for task in want for note in task]
    assert [e.samples_seen for e in anytime.curve.task_ends] == [TASK, 2 * TASK, 3 * TASK]
    assert anytime.new_classes == [[0, 1], [2, 3], [4, 5]]


def test_hidden_boundaries_stay_hidden_from_the_method_but_not_from_the_measurement() -> None:
    stream = class_incremental()
    anytime = AnytimeEvaluation(stream.test_stream, every=None)
    strategy = noting(plugins=[anytime])
    for experience in pieces(stream.train_stream, 8, announced=False):
        strategy.train(experience, eval_streams=[])
    assert strategy.notes == []
    assert len(anytime.curve.task_ends) == 3


def test_a_run_resumes_in_the_middle_of_a_task() -> None:
    stream = class_incremental()
    plugins = [AnytimeEvaluation(stream.test_stream, every=None) for _ in range(2)]
    first, second = (noting(plugins=[plugin]) for plugin in plugins)
    online = list(pieces(stream.train_stream, 8))
    for experience in online[:6]:
        first.train(experience, eval_streams=[])
    second.load_state_dict(first.state_dict(), online[:6])
    plugins[1].load_state_dict(plugins[0].state_dict())
    for experience in online[6:8]:
        second.train(experience, eval_streams=[])
    assert second.notes == [("finish", 2 * TASK)]
    assert [e.samples_seen for e in plugins[1].curve.task_ends] == [TASK, 2 * TASK]


def test_a_stream_that_announces_nothing_announces_nothing_in_pieces() -> None:
    strategy = noting()
    fit(strategy, pieces(benchmark().train_stream, 8))
    assert strategy.notes == []


def test_a_piece_is_of_the_whole_that_it_was_cut_from() -> None:
    stream = class_incremental().train_stream
    (first, *_) = pieces(stream, 8)
    assert whole_of(first) is not first
    assert len(whole_of(first).dataset) == TASK
    assert whole_of(stream[0]) is stream[0]


def test_positions_of_whole_experiences_and_of_pieces() -> None:
    position = TaskPosition()
    for experience in class_incremental().train_stream:
        position.enter(experience)
        assert (position.first, position.last, position.samples) == (True, True, TASK)
    found = []
    for piece in pieces(class_incremental().train_stream, 12):
        position.enter(piece)
        found.append((position.first, position.last, position.samples))
    assert found == [(True, False, 12), (False, False, 24), (False, True, 32)] * 3
