"""Avalanche benchmarks over splits: laziness, order, class timeline, and Avalanche's own strategies
training on them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.training import EWC, LwF, Naive, Replay
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn
from torch.utils.data import Dataset

from cl_prompts.errors import InputError
from cl_prompts.scenarios import (
    benchmark_from_split,
    disjoint_benchmark,
    disjoint_split,
    i_blurry_benchmark,
    i_blurry_split,
    iid_benchmark,
    iid_split,
    si_blurry_benchmark,
    si_blurry_split,
)

torch.set_num_threads(1)
STRATEGIES: dict[str, Callable[..., Any]] = {
    "Naive": Naive,
    "Replay": lambda **settings: Replay(mem_size=20, **settings),
    "EWC": lambda **settings: EWC(ewc_lambda=1.0, **settings),
    "LwF": lambda **settings: LwF(alpha=1.0, temperature=2.0, **settings),
}


class TinyImages(Dataset):
    """Random 3x4x4 images whose first value is their row, and whose brightness tells their
    class."""

    def __init__(self, targets: Any) -> None:
        self.targets = targets
        n = len(targets)
        generator = torch.Generator().manual_seed(n)
        self.images = torch.rand(n, 3, 4, 4, generator=generator)
        for row, label in enumerate(targets):
            self.images[row, :, label % 4, label // 4] += 3
            self.images[row, 0, 0, 0] = row

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.images[row] * 1, int(self.targets[row])


class NoImages(Dataset):
    """A data set that must not be read."""

    def __init__(self, targets: np.ndarray) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> Any:
        raise AssertionError("an image was read")


class Recorder(nn.Module):
    """A linear classifier that writes down which rows it was trained on."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(48, n_classes)
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.rows += x[:, 0, 0, 0].long().tolist()
        x = x.flatten(1).clone()
        x[:, 0] = 0
        return self.linear(x)


TRAIN, TEST = TinyImages(np.arange(120) % 12), TinyImages(np.arange(36) % 12)


def make_strategy(name: str, n_classes: int = 12, evaluator: Any = None) -> Any:
    torch.manual_seed(0)
    model = Recorder(n_classes)
    return STRATEGIES[name](
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=7,
        train_epochs=1,
        eval_mb_size=16,
        evaluator=evaluator,
    )


@pytest.mark.parametrize("task_labels", [True, False])
@pytest.mark.parametrize("name", STRATEGIES)
def test_avalanche_strategies_train_and_evaluate(name: str, task_labels: bool) -> None:
    benchmark = si_blurry_benchmark(TRAIN, TEST, n_tasks=3, seed=2, task_labels=task_labels)
    evaluator = EvaluationPlugin(
        accuracy_metrics(epoch=True, experience=True, stream=True),
        loss_metrics(epoch=True),
        forgetting_metrics(stream=True),
        loggers=[],
        strict_checks=True,
    )
    strategy = make_strategy(name, evaluator=evaluator)
    for experience in benchmark.train_stream:
        before = len(strategy.model.rows)
        strategy.train(experience, shuffle=False)
        delivered = strategy.model.rows[before:]
        if name == "Naive":
            assert delivered == experience.indices.tolist()
        assert set(experience.indices.tolist()) <= set(delivered)
        metrics = strategy.eval(benchmark.test_stream)
    key = "Top1_Acc_Stream/eval_phase/test_stream" + "/Task000" * task_labels
    assert metrics[key] > 1 / 12


def test_batches_carry_image_label_and_task_label_in_stream_order() -> None:
    benchmark = si_blurry_benchmark(TRAIN, TEST, n_tasks=3)
    for task, experience in enumerate(benchmark.train_stream):
        rows = benchmark.split[task].tolist()
        items = [experience.dataset[i] for i in range(len(rows))]
        assert [int(x[0, 0, 0]) for x, _, _ in items] == rows
        assert (
            [y for _, y, _ in items]
            == list(experience.dataset.targets)
            == TRAIN.targets[rows].tolist()
        )
        assert {t for _, _, t in items} == {0}


def test_classes_of_experiences() -> None:
    benchmark = si_blurry_benchmark(
        TRAIN, TEST, n_tasks=4, disjoint_percent=50, blurry_percent=50, seed=3
    )
    labels = [set(TRAIN.targets[rows].tolist()) for rows in benchmark.split]
    recurring = False
    for task, experience in enumerate(benchmark.train_stream):
        before = set().union(*labels[:task])
        later = set().union(*labels[task + 1 :])
        assert experience.classes_in_this_experience == labels[task]
        assert experience.previous_classes == before
        assert experience.classes_seen_so_far == before | labels[task]
        assert experience.new_classes == labels[task] - before
        assert experience.future_classes == later - before - labels[task]
        assert experience.recurring_future_classes == later & (before | labels[task])
        assert all(type(c) is int for c in experience.classes_seen_so_far)
        recurring |= bool(experience.recurring_future_classes)
    assert recurring


def test_experiences_are_made_once_and_on_demand() -> None:
    benchmark = si_blurry_benchmark(TRAIN, TEST, n_tasks=3)
    stream = benchmark.train_stream
    assert not stream._made
    third = stream[2]
    assert list(stream._made) == [2]
    assert third is stream[2] is stream[1:][1] is list(stream)[2]
    assert stream[-1] is third
    assert [experience.current_experience for experience in stream[1:]] == [1, 2]
    assert third.origin_stream is stream
    assert stream.benchmark is benchmark
    assert len(stream) == 3
    assert third.ordered
    assert third.task_label == 0
    assert np.array_equal(third.indices, benchmark.split[2])
    assert not hasattr(
        si_blurry_benchmark(TRAIN, TEST, task_labels=False).train_stream[0], "task_labels"
    )


def test_test_stream_is_the_whole_test_set() -> None:
    benchmark = si_blurry_benchmark(TRAIN, TEST, n_tasks=3)
    (experience,) = benchmark.test_stream
    assert list(experience.dataset.targets) == TEST.targets.tolist()
    assert experience.classes_in_this_experience == set(range(12))
    assert experience.future_classes == set()


def empty_task_benchmark(task_labels: bool) -> Any:
    benchmark = si_blurry_benchmark(
        TRAIN, TEST, n_tasks=6, blurry_percent=0, seed=3, task_labels=task_labels
    )
    sizes = [len(rows) for rows in benchmark.split]
    assert 0 in sizes
    return benchmark


@pytest.mark.parametrize("task_labels", [True, False])
@pytest.mark.parametrize("name", STRATEGIES)
def test_empty_tasks_are_passed_over(name: str, task_labels: bool) -> None:
    benchmark = empty_task_benchmark(task_labels)
    strategy = make_strategy(
        name, evaluator=EvaluationPlugin(accuracy_metrics(epoch=True, stream=True))
    )
    for experience in benchmark.train_stream:
        before = [parameter.clone() for parameter in strategy.model.parameters()]
        strategy.train(experience, shuffle=False)
        if not len(experience.dataset) and name != "Replay":
            assert all(map(torch.equal, before, strategy.model.parameters()))
        strategy.eval(benchmark.test_stream)
    assert set(strategy.model.rows) == set(range(120))


def test_relatives() -> None:
    labels = TRAIN.targets
    assert i_blurry_benchmark(TRAIN, TEST, n_tasks=3, seed=2).split == i_blurry_split(
        labels, n_tasks=3, seed=2
    )
    assert disjoint_benchmark(TRAIN, TEST, n_tasks=3).split == disjoint_split(labels, n_tasks=3)
    joint = iid_benchmark(TRAIN, TEST, seed=5)
    assert joint.split == iid_split(labels, seed=5)
    strategy = make_strategy("Naive")
    strategy.train(joint.train_stream[0], shuffle=False)
    assert strategy.model.rows == joint.split[0].tolist()


def test_given_split() -> None:
    split = si_blurry_split(TRAIN.targets, n_tasks=3, seed=9)
    assert si_blurry_benchmark(TRAIN, TEST, split=split).split is split
    assert si_blurry_benchmark(TRAIN, TEST, n_tasks=3, seed=9, split=split).split is split
    with pytest.raises(InputError, match="n_tasks=4 contradicts the given split, which has 3"):
        si_blurry_benchmark(TRAIN, TEST, n_tasks=4, split=split)


@pytest.mark.parametrize("convert", [list, torch.tensor])
def test_targets_as_list_or_tensor(convert: Callable[[Any], Any]) -> None:
    other = TinyImages(convert(TRAIN.targets.tolist()))
    assert si_blurry_benchmark(other, TEST).split == si_blurry_benchmark(TRAIN, TEST).split


def test_refusals() -> None:
    split = si_blurry_split(TRAIN.targets)
    with pytest.raises(
        InputError, match=r"the train data set must have one label per item in \.targets"
    ):
        si_blurry_benchmark(list(range(5)), TEST)
    with pytest.raises(
        InputError, match=r"the test data set must have one label per item in \.targets"
    ):
        si_blurry_benchmark(TRAIN, list(range(5)))
    with pytest.raises(InputError, match=r"label 3 is missing in test\.targets"):
        si_blurry_benchmark(TRAIN, TinyImages(np.array([0, 1, 2, 11])))
    with pytest.raises(InputError, match=r"train\.targets holds 12 classes and test\.targets 5"):
        si_blurry_benchmark(TRAIN, TinyImages(np.arange(10) % 5))
    for wrong in (np.arange(132) % 12, np.arange(120) % 12 // 2 * 2 + np.arange(120) // 60):
        with pytest.raises(InputError, match=r"the split does not fit train\.targets"):
            benchmark_from_split(NoImages(wrong), TEST, split)


def test_a_million_labels_touch_no_image() -> None:
    labels = np.random.default_rng(0).permutation(np.arange(1_000_000) % 1000)
    train, test = NoImages(labels), NoImages(np.arange(10_000) % 1000)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        benchmark = si_blurry_benchmark(train, test)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.8
    experiences = list(benchmark.train_stream)
    assert sum(len(experience.dataset) for experience in experiences) == 1_000_000


def test_importing_scenarios_loads_no_avalanche() -> None:
    code = (
        "import sys, cl_prompts.scenarios as s; s.si_blurry_split([0, 1, 2], n_tasks=2);"
        "s.load_dataset; assert not [name for name in sys.modules if name.startswith('avalanche')]"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_unknown_name() -> None:
    import cl_prompts.scenarios as scenarios

    with pytest.raises(AttributeError, match="si_blury"):
        _ = scenarios.si_blury
    assert all(hasattr(scenarios, name) for name in scenarios.__all__)
