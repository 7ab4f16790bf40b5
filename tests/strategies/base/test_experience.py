"""Experiences: their labels, checked before training, and tasks cut into mini-experiences."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, split_online_stream
from avalanche.benchmarks.utils import as_classification_dataset
from torch import Tensor

from cl_prompts.strategies import AnytimeEvaluation, LinearProbe
from cl_prompts.strategies.base.experience import classes_of
from tests.toy_data import Blobs, benchmark, experiences
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


@pytest.mark.parametrize(("size", "announced"), [(8, True), (7, True), (TASK, True), (8, False)])
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
