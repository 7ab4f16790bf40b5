"""Multi-label and class-incremental Avalanche benchmarks: masks, timeline, test streams, and
Avalanche's own strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks.utils import DataAttribute
from avalanche.evaluation.metrics import loss_metrics
from avalanche.training import EWC, Cumulative, LwF, Naive, Replay
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cl_prompts.errors import InputError
from cl_prompts.scenarios import (
    benchmark_from_split,
    class_incremental_benchmark,
    class_incremental_split,
    mlcil_benchmark,
    mlcil_split,
    si_blurry_benchmark,
    si_blurry_multi_label_benchmark,
    si_blurry_multi_label_split,
    si_blurry_split,
)
from cl_prompts.scenarios.multi_hot import MultiHotTargets
from tests.scenarios.test_class_incremental import some_labels

torch.set_num_threads(1)
STRATEGIES: dict[str, Callable[..., Any]] = {
    "Naive": Naive,
    "Replay": lambda **settings: Replay(mem_size=20, **settings),
    "EWC": lambda **settings: EWC(ewc_lambda=1.0, **settings),
    "LwF": lambda **settings: LwF(alpha=1.0, temperature=2.0, **settings),
    "Cumulative": Cumulative,
}


class Scenes(Dataset):
    """Images whose bright pixels are their labels; item labels are integers, as an unaware data set
    might give them."""

    def __init__(self, targets: Any) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Tensor, Any]:
        image = torch.zeros(3, 4, 4)
        image.view(3, 16)[:, : len(self.targets[row])] = torch.as_tensor(self.targets[row]).float()
        image[2, 3, 3] = row
        return image, self.targets[row]


class NoImages(Scenes):
    def __getitem__(self, row: int) -> Any:
        raise AssertionError("an image was read")


TRAIN, TEST = Scenes(some_labels(90, 12, seed=1)), Scenes(some_labels(40, 12, seed=2))
BENCHMARKS: dict[str, Callable[..., Any]] = {
    "mlcil": lambda *data, **settings: mlcil_benchmark(*data, protocol="B4-C2", **settings),
    "blurry": lambda *data, **settings: si_blurry_multi_label_benchmark(
        *data, n_tasks=3, seed=4, **settings
    ),
}


def make_strategy(name: str, n_classes: int = 12) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, n_classes))
    return STRATEGIES[name](
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1e-4),
        criterion=nn.BCEWithLogitsLoss(),
        train_mb_size=8,
        train_epochs=2,
        eval_mb_size=16,
        evaluator=EvaluationPlugin(
            loss_metrics(epoch=True, experience=True), loggers=[], strict_checks=True
        ),
    )


@pytest.mark.parametrize("task_labels", [True, False])
@pytest.mark.parametrize("kind", BENCHMARKS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_avalanche_strategies_train_and_evaluate(name: str, kind: str, task_labels: bool) -> None:
    benchmark = BENCHMARKS[kind](TRAIN, TEST, task_labels=task_labels)
    strategy = make_strategy(name)
    for task, experience in enumerate(benchmark.train_stream):
        before = [parameter.clone() for parameter in strategy.model.parameters()]
        strategy.train(experience, shuffle=not experience.ordered)
        assert not any(map(torch.equal, before, strategy.model.parameters()))
        tested = benchmark.test_stream[task if kind == "mlcil" else 0]
        metrics = strategy.eval([tested])
        loss = next(
            value
            for key, value in metrics.items()
            if key.startswith("Loss_Exp/eval_phase/test_stream")
        )
        assert np.isfinite(loss)


@pytest.mark.parametrize("name", STRATEGIES)
def test_empty_tasks_are_passed_over(name: str) -> None:
    benchmark = si_blurry_multi_label_benchmark(TRAIN, TEST, n_tasks=6, blurry_percent=0, seed=3)
    assert 0 in benchmark.split.sizes
    strategy = make_strategy(name)
    for experience in benchmark.train_stream:
        assert len(experience.dataset) or not experience.classes_in_this_experience
        strategy.train(experience, shuffle=False)
        strategy.eval(benchmark.test_stream)


@pytest.mark.parametrize("kind", BENCHMARKS)
def test_training_shows_visible_labels_alone(kind: str) -> None:
    benchmark = BENCHMARKS[kind](TRAIN, TEST)
    split = benchmark.split
    for task, experience in enumerate(benchmark.train_stream):
        rows = split[task].train_indices
        items = [experience.dataset[i] for i in range(len(rows))]
        assert (
            [int(x[2, 3, 3]) for x, _, _ in items] == rows.tolist() == experience.indices.tolist()
        )
        assert {t for _, _, t in items} == {0}
        y = torch.stack([y for _, y, _ in items])
        assert y.dtype == torch.float32
        assert np.array_equal(y.numpy(), TRAIN.targets[rows] * split.visible[task])
        assert not y[:, ~split.visible[task]].any()
        assert y.any(dim=1).all()
        targets = experience.dataset.targets
        assert isinstance(targets, MultiHotTargets)
        assert torch.equal(torch.stack(list(targets)), y)
        assert targets.uniques == experience.classes_in_this_experience == set(split[task].classes)
        x, batch, t = next(iter(DataLoader(experience.dataset, batch_size=4)))
        assert x.shape == (4, 3, 4, 4)
        assert torch.equal(batch, y[:4])
        assert t.tolist() == [0] * 4


@pytest.mark.parametrize("kind", BENCHMARKS)
def test_classes_of_experiences(kind: str) -> None:
    benchmark = BENCHMARKS[kind](TRAIN, TEST)
    classes = [set(task.classes) for task in benchmark.split]
    for task, experience in enumerate(benchmark.train_stream):
        before, later = set().union(*classes[:task]), set().union(*classes[task + 1 :])
        now = classes[task]
        assert experience.classes_in_this_experience == now
        assert experience.previous_classes == before
        assert experience.classes_seen_so_far == before | now
        assert experience.new_classes == now - before
        assert experience.future_classes == later - before - now
        assert experience.recurring_future_classes == later & (before | now)
        assert (experience.ordered, experience.boundaries) == (
            (False, True) if kind == "mlcil" else (True, False)
        )
        assert experience.overlapping is False
        assert experience.task_label == 0
        assert experience is benchmark.train_stream[task]
        assert experience.origin_stream.benchmark is benchmark


def test_mlcil_test_stream_grows() -> None:
    benchmark = mlcil_benchmark(TRAIN, TEST, protocol="B4-C2", class_order=3)
    split = benchmark.split
    assert len(benchmark.test_stream) == len(split) == 5
    for task, experience in enumerate(benchmark.test_stream):
        seen = split.seen[task]
        rows = np.flatnonzero(TEST.targets[:, seen].any(axis=1))
        assert experience.indices.tolist() == rows.tolist() == split.test_indices(task).tolist()
        y = torch.stack([experience.dataset[i][1] for i in range(len(rows))])
        assert np.array_equal(y.numpy(), TEST.targets[rows] * seen)
        assert y.any(dim=1).all()
        assert experience.overlapping is True
        seen_in_training = benchmark.train_stream[task].classes_seen_so_far
        assert (
            experience.classes_in_this_experience
            == experience.classes_seen_so_far
            == seen_in_training
        )


def test_blurry_test_stream_is_every_labelled_image() -> None:
    benchmark = si_blurry_multi_label_benchmark(TRAIN, TEST)
    (experience,) = benchmark.test_stream
    rows = np.flatnonzero(TEST.targets.any(axis=1))
    assert experience.indices.tolist() == rows.tolist()
    y = torch.stack([experience.dataset[i][1] for i in range(len(rows))])
    assert np.array_equal(y.numpy(), TEST.targets[rows])
    assert experience.overlapping is False
    assert experience.classes_in_this_experience == set(range(12))


def test_given_split() -> None:
    split = mlcil_split(TRAIN.targets, protocol="B4-C2", test_labels=TEST.targets)
    assert mlcil_benchmark(TRAIN, TEST, split=split).split is split
    untested = mlcil_split(TRAIN.targets, protocol="B4-C2")
    assert benchmark_from_split(TRAIN, TEST, untested).split == split
    with pytest.raises(InputError, match="give either split or increment, not both"):
        mlcil_benchmark(TRAIN, TEST, increment=2, split=split)
    blurry = si_blurry_multi_label_split(TRAIN.targets, n_tasks=3, test_labels=TEST.targets)
    assert si_blurry_multi_label_benchmark(TRAIN, TEST, n_tasks=3, split=blurry).split is blurry
    with pytest.raises(InputError, match="n_tasks=4 contradicts the given split, which has 3"):
        si_blurry_multi_label_benchmark(TRAIN, TEST, n_tasks=4, split=blurry)
    with pytest.raises(InputError, match="this split is not of si_blurry_multi_label_split"):
        si_blurry_multi_label_benchmark(TRAIN, TEST, split=split)
    with pytest.raises(
        InputError, match=r"this split is not of mlcil_split: <multi-label Si-Blurry split"
    ):
        mlcil_benchmark(TRAIN, TEST, split=blurry)


@pytest.mark.parametrize("convert", [lambda y: y.tolist(), torch.tensor])
def test_targets_as_list_or_tensor(convert: Callable[[Any], Any]) -> None:
    benchmark = mlcil_benchmark(
        Scenes(convert(TRAIN.targets)), Scenes(convert(TEST.targets)), protocol="B0-C4"
    )
    assert benchmark.split == mlcil_benchmark(TRAIN, TEST, protocol="B0-C4").split
    _, y, _ = benchmark.train_stream[0].dataset[0]
    assert y.dtype == torch.float32


def test_refusals() -> None:
    split = mlcil_split(TRAIN.targets, protocol="B4-C2", test_labels=TEST.targets)
    with pytest.raises(
        InputError, match=r"the train data set must have one label per item in \.targets"
    ):
        mlcil_benchmark(list(range(5)), TEST, protocol="B4-C2")
    single = Scenes(np.arange(90) % 12)
    with pytest.raises(
        InputError, match=r"train\.targets must be a 0/1 matrix \(images, classes\), not 1-D"
    ):
        benchmark_from_split(single, TEST, split)
    with pytest.raises(
        InputError, match=r"train\.targets must be a 1-D sequence of integer labels, not 2-D"
    ):
        benchmark_from_split(TRAIN, TEST, si_blurry_split(single.targets))
    with pytest.raises(
        InputError, match=r"train\.targets must be a 1-D sequence|targets must be a 1-D sequence"
    ):
        si_blurry_benchmark(TRAIN, TEST)
    with pytest.raises(
        InputError, match=r"train\.targets holds 12 classes and test\.targets 11: they must agree"
    ):
        benchmark_from_split(TRAIN, Scenes(TEST.targets[:, :11]), split)
    with pytest.raises(InputError, match=r"the split does not fit test\.targets"):
        benchmark_from_split(TRAIN, Scenes(TEST.targets[::-1]), split)
    for wrong in (TRAIN.targets[::-1], TRAIN.targets[:-1], TRAIN.targets | TRAIN.targets[::-1]):
        with pytest.raises(InputError, match=r"the split does not fit train\.targets"):
            benchmark_from_split(NoImages(wrong), TEST, split)


def test_class_incremental() -> None:
    labels, test_labels = np.arange(90) % 6, np.arange(30) % 6
    train, test = (Scenes(np.eye(6, dtype=np.uint8)[y]) for y in (labels, test_labels))
    train.targets, test.targets = labels, test_labels
    train.__class__ = test.__class__ = NoImages
    benchmark = class_incremental_benchmark(train, test, n_tasks=3, class_order=2)
    assert benchmark.split == class_incremental_split(labels, n_tasks=3, class_order=2)
    for rows, experience in zip(benchmark.split, benchmark.train_stream, strict=True):
        assert (experience.ordered, experience.boundaries, experience.overlapping) == (
            False,
            True,
            False,
        )
        assert list(experience.dataset.targets) == labels[rows].tolist()
        assert len(experience.new_classes) == 2
        assert not experience.recurring_future_classes
    (tested,) = benchmark.test_stream
    assert list(tested.dataset.targets) == test_labels.tolist()
    assert not si_blurry_benchmark(train, test, n_tasks=3).train_stream[0].boundaries


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
    benchmark = mlcil_benchmark(TRAIN, TEST, protocol="B0-C4")
    first, second = (benchmark.train_stream[t].dataset for t in (0, 1))
    joined = first.concat(second).subset([0, len(first)]).train().eval()
    assert isinstance(joined.targets, MultiHotTargets)
    expected = [first[0][1], second[0][1]]
    assert torch.equal(torch.stack(list(joined.targets)), torch.stack(expected))
    assert torch.equal(torch.stack([joined[i][1] for i in range(2)]), torch.stack(expected))


def test_coco_size_touches_no_image_and_copies_no_labels() -> None:
    rng = np.random.default_rng(0)
    train, test = (
        NoImages((rng.random((n, 80)) < 0.036).astype(np.uint8)) for n in (82_081, 40_137)
    )
    for build in (
        lambda: mlcil_benchmark(train, test, protocol="B0-C10"),
        lambda: si_blurry_multi_label_benchmark(train, test),
    ):
        benchmark = build()
        for stream, labels in ((benchmark.train_stream, train), (benchmark.test_stream, test)):
            assert all(e.dataset.targets.matrix is labels.targets for e in stream)
        assert [len(e.dataset) for e in benchmark.train_stream] == benchmark.split.sizes
