"""Experiences: their labels, checked before training, and tasks cut into mini-experiences."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import (
    benchmark_from_datasets,
    benchmark_with_validation_stream,
    split_online_stream,
)
from avalanche.benchmarks.utils import as_classification_dataset
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.strategies import AnytimeEvaluation, LinearProbe
from cl_prompts.strategies.base.experience import (
    TaskPosition,
    classes_of,
)
from tests.toy_data import Blobs, benchmark, experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make

TASK = 32  # samples


def pieces(stream: Any, size: int, announced: bool = True) -> Any:
    return split_online_stream(
        stream, experience_size=size, access_task_boundaries=announced, shuffle=False
    )


def class_incremental() -> Any:
    return benchmark("class_incremental", train=3 * TASK)


class Noting(LinearProbe):
    """Writes down the task boundaries that it knows of."""

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


@pytest.mark.parametrize(
    ("size", "announced"), [(8, True), (7, True), (TASK, True), (TASK + 1, True), (8, False)]
)
def test_boundaries_are_those_of_whole_tasks_and_only_measured_where_they_are_hidden(
    size: int, announced: bool
) -> None:
    stream = class_incremental()
    anytime = AnytimeEvaluation(stream.test_stream, every=None)
    strategy = fit(noting(plugins=[anytime]), pieces(stream.train_stream, size, announced))
    want = [[("start", [2 * t, 2 * t + 1]), ("finish", (t + 1) * TASK)] for t in range(3)]
    assert strategy.notes == ([note for task in want for note in task] if announced else [])
    assert [e.samples_seen for e in anytime.curve.task_ends] == [TASK, 2 * TASK, 3 * TASK]
    assert anytime.new_classes == [[0, 1], [2, 3], [4, 5]]


def test_a_run_resumes_in_the_middle_of_a_task() -> None:
    stream = class_incremental()
    plugins = [AnytimeEvaluation(stream.test_stream, every=None) for _ in range(2)]
    first, second = (noting(plugins=[plugin]) for plugin in plugins)
    online = list(pieces(stream.train_stream, 8))
    fit(first, online[:6])
    second.load_state_dict(first.state_dict(), online[:6])
    fit(second, online[6:8])
    assert second.notes == [("finish", 2 * TASK)]
    assert [e.samples_seen for e in plugins[1].curve.task_ends] == [TASK, 2 * TASK]


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


def test_annotated_classes_are_those_that_the_experience_names() -> None:
    named = SimpleNamespace(classes_in_this_experience=[2, 0])
    assert classes_of(named, 4).tolist() == [True, False, True, False]
    assert classes_of(SimpleNamespace(), 3).tolist() == [True] * 3
    # Avalanche's streams of given data sets declare none.
    blobs = as_classification_dataset(Blobs(60, seed=1))
    parts = [
        blobs.subset([row for row, label in enumerate(blobs.targets) if label in classes])
        for classes in ((2, 5), (0, 1))
    ]
    (two, one) = benchmark_from_datasets(train=parts).train_stream
    assert classes_of(two, 6).nonzero().flatten().tolist() == [2, 5]
    piece = next(iter(split_online_stream([one], 1, access_task_boundaries=True, shuffle=False)))
    assert classes_of(piece, 6).nonzero().flatten().tolist() == [0, 1]
    several = SimpleNamespace(dataset=SimpleNamespace(targets=torch.eye(3)))
    assert classes_of(several, 3).tolist() == [True] * 3
    experience, *_ = experiences("mlcil")
    piece = next(iter(split_online_stream([experience], 8, access_task_boundaries=True)))
    assert torch.equal(classes_of(piece, 6), classes_of(experience, 6))


def test_parts_of_a_multi_label_task_are_annotated_as_the_whole() -> None:
    whole = benchmark("si_blurry_multi_label")
    data = [experience.dataset for experience in whole.train_stream]
    streams = [
        benchmark_with_validation_stream(
            whole, split_strategy=lambda data: (data.subset([0]), data.subset([]))
        ).train_stream,
        benchmark_from_datasets(train=data).train_stream,
    ]
    for stream in streams:
        for experience, part in zip(whole.train_stream, stream, strict=True):
            assert set(classes_of(part, 8).nonzero().flatten().tolist()) == set(
                experience.classes_in_this_experience
            )
    # Joined, the zeros of each mean nothing to the other.
    data = [experience.dataset for experience in benchmark("mlcil").train_stream]
    (joined,) = benchmark_from_datasets(train=[data[0].concat(data[1])]).train_stream
    with pytest.raises(InputError, match="mixes tasks and does not say which classes"):
        fit(make("linear_probe", "mlcil"), [joined])
