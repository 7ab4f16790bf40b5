"""Tasks cut into mini-experiences by Avalanche: what a strategy knows of them is what it knows of
whole ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.benchmarks import split_online_stream

from cl_prompts.errors import InputError
from cl_prompts.scenarios import class_incremental_benchmark, mlcil_benchmark, si_blurry_benchmark
from cl_prompts.strategies import AnytimeEvaluation, Joint, LinearProbe, MultiLane
from cl_prompts.strategies.base.experience import TaskPosition
from tests.conftest import Blobs, tiny_vit
from tests.strategies.test_baselines import Scenes

TASK = 32  # samples


def benchmark() -> Any:
    return class_incremental_benchmark(Blobs(3 * TASK, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3)


def pieces(stream: Any, size: int, announced: bool = True) -> Any:
    return split_online_stream(
        stream, experience_size=size, access_task_boundaries=announced, shuffle=False
    )


class Noting(LinearProbe):
    """Writes down the task boundaries that it is told of."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            backbone=tiny_vit(),
            n_classes=6,
            train_mb_size=8,
            device="cpu",
            evaluator=None,
            online_iter=1,
            **options,
        )
        self.notes: list[tuple[str, Any]] = []

    def start_task(self, classes: torch.Tensor) -> None:
        self.notes.append(("start", classes.nonzero().flatten().tolist()))

    def finish_task(self) -> None:
        self.notes.append(("finish", self.samples_seen))


@pytest.mark.parametrize("size", [8, 7, TASK, TASK + 1])
def test_announced_boundaries_are_those_of_the_whole_tasks(size: int) -> None:
    stream = benchmark()
    anytime = AnytimeEvaluation(stream.test_stream, every=None)
    strategy = Noting(plugins=[anytime])
    for experience in pieces(stream.train_stream, size):
        strategy.train(experience, eval_streams=[])
    want = [[("start", [2 * t, 2 * t + 1]), ("finish", (t + 1) * TASK)] for t in range(3)]
    assert strategy.notes == [note for task in want for note in task]
    assert [e.samples_seen for e in anytime.curve.task_ends] == [TASK, 2 * TASK, 3 * TASK]
    assert anytime.new_classes == [[0, 1], [2, 3], [4, 5]]


def test_hidden_boundaries_stay_hidden_from_the_method_but_not_from_the_measurement() -> None:
    stream = benchmark()
    anytime = AnytimeEvaluation(stream.test_stream, every=None)
    strategy = Noting(plugins=[anytime])
    for experience in pieces(stream.train_stream, 8, announced=False):
        strategy.train(experience, eval_streams=[])
    assert strategy.notes == []
    assert len(anytime.curve.task_ends) == 3


def test_training_in_pieces_is_training_on_the_whole() -> None:
    stream = si_blurry_benchmark(Blobs(96, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=1, seed=3)
    whole, parts = Noting(), Noting()
    parts.model.load_learned_state(whole.model.learned_state())
    whole.train(stream.train_stream, eval_streams=[])
    for experience in pieces(stream.train_stream, 16):  # two batches each, in the stream's order
        parts.train(experience, eval_streams=[])
    assert parts.samples_seen == whole.samples_seen == 96
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name


def test_a_run_resumes_in_the_middle_of_a_task() -> None:
    stream = benchmark()
    plugins = [AnytimeEvaluation(stream.test_stream, every=None) for _ in range(2)]
    first, second = (Noting(plugins=[plugin]) for plugin in plugins)
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
    stream = si_blurry_benchmark(Blobs(96, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3, seed=3)
    strategy = Noting()
    for experience in pieces(stream.train_stream, 8):
        strategy.train(experience, eval_streams=[])
    assert strategy.notes == []


def test_pieces_of_a_multi_label_task_annotate_its_classes() -> None:
    stream = mlcil_benchmark(Scenes(40, 6, seed=1), Scenes(20, 6, seed=2), protocol="B0-C2")
    strategy = MultiLane(
        backbone=tiny_vit(),
        n_classes=6,
        n_selectors=2,
        prompt_length=2,
        prompted_blocks=(0,),
        train_mb_size=8,
        train_epochs=1,
        device="cpu",
        evaluator=None,
    )
    for experience in pieces(stream.train_stream, 8):
        strategy.train(experience, eval_streams=[])
    assert [strategy.model.lanes.lane(i).classes.tolist() for i in range(3)] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]


def test_a_mixture_does_not_say_what_is_annotated() -> None:
    from avalanche.benchmarks.scenarios.online import split_continuous_linear_decay_stream

    stream = mlcil_benchmark(Scenes(40, 6, seed=1), Scenes(20, 6, seed=2), protocol="B0-C2")
    mixed = split_continuous_linear_decay_stream(
        stream.train_stream, experience_size=8, iters_per_virtual_epoch=2, beta=4, shuffle=True
    )
    strategy = MultiLane(
        backbone=tiny_vit(),
        n_classes=6,
        n_selectors=2,
        prompt_length=2,
        prompted_blocks=(0,),
        device="cpu",
        evaluator=None,
    )
    with pytest.raises(
        InputError, match="mixes tasks and does not say which classes are annotated"
    ):
        strategy.train(next(iter(mixed)), eval_streams=[])


def test_joint_training_puts_pieces_of_tasks_together_again() -> None:
    stream = mlcil_benchmark(Scenes(40, 6, seed=1), Scenes(20, 6, seed=2), protocol="B0-C2")

    def joint() -> Joint:
        torch.manual_seed(0)
        return Joint(
            backbone=tiny_vit(),
            n_classes=6,
            multi_label=True,
            train_epochs=1,
            train_mb_size=8,
            device="cpu",
            evaluator=None,
        )

    whole, parts = joint(), joint()
    whole.train(stream.train_stream, eval_streams=[])
    online = list(pieces(stream.train_stream, 8))
    parts.train(online, eval_streams=[])
    assert parts.samples_seen == whole.samples_seen == 40
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name
    with pytest.raises(InputError, match="annotated for different classes and are not whole tasks"):
        joint().train(online[:-1], eval_streams=[])


def test_positions_of_whole_experiences() -> None:
    position = TaskPosition()
    for experience in benchmark().train_stream:
        position.enter(experience)
        assert (position.first, position.last, position.samples) == (True, True, TASK)
