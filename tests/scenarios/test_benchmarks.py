"""Avalanche benchmarks over splits: their builders, given splits, refusals, and Avalanche's own
strategies training on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import CLScenario
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.training.plugins import EvaluationPlugin

from cl_prompts import scenarios
from cl_prompts.errors import InputError
from cl_prompts.scenarios import (
    SCENARIOS,
    MultiLabelSplit,
    Split,
    benchmark_builder,
    benchmark_from_split,
    benchmarks,
    mlcil_split,
    si_blurry_split,
)
from tests.scenarios.images import (
    KINDS,
    MULTI,
    SINGLE,
    STRATEGIES,
    NoImages,
    make_benchmark,
    make_strategy,
)

torch.set_num_threads(1)
LABELS = SINGLE[0].targets
MATRIX = MULTI[0].targets


def pairs(
    targets: Any, *, size: int, keep: tuple[int, ...] = (0, 1), reverse: bool = False
) -> Split:
    """Tasks of neighbouring rows."""
    rows = np.arange(len(targets))[:: -1 if reverse else 1]
    tasks = np.split(rows, range(size, len(rows), size))
    return Split.of("pairs", targets, tasks, parameters={"size": size, "keep": keep})


# Avalanche's own strategies


@pytest.mark.parametrize("kind", ["si_blurry", "mlcil", "si_blurry_multi_label"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_avalanche_strategies_train_and_evaluate(name: str, kind: str) -> None:
    benchmark = make_benchmark(kind)
    multi_label = SCENARIOS[kind].multi_label
    scores = [] if multi_label else [accuracy_metrics(stream=True), forgetting_metrics(stream=True)]
    evaluator = EvaluationPlugin(
        loss_metrics(epoch=True, experience=True), *scores, loggers=[], strict_checks=True
    )
    strategy = make_strategy(name, multi_label=multi_label, evaluator=evaluator)
    for task, experience in enumerate(benchmark.train_stream):
        before = [parameter.clone() for parameter in strategy.model.parameters()]
        rows_before = len(strategy.model.rows)
        strategy.train(experience, shuffle=not experience.ordered)
        assert not any(map(torch.equal, before, strategy.model.parameters()))
        delivered = strategy.model.rows[rows_before:]
        assert set(experience.indices.tolist()) <= set(delivered)
        if name == "Naive" and experience.ordered:
            assert delivered == experience.indices.tolist()
        metrics = strategy.eval([benchmark.test_stream[task if kind == "mlcil" else 0]])
        losses = [v for key, v in metrics.items() if key.startswith("Loss_Exp/eval_phase/test_st")]
        assert losses
        assert np.isfinite(losses).all()
    if not multi_label:
        key = "Top1_Acc_Stream/eval_phase/test_stream/Task000"
        assert metrics[key] > 1 / 12


@pytest.mark.parametrize("kind", ["si_blurry", "si_blurry_multi_label"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_empty_tasks_are_passed_over(name: str, kind: str) -> None:
    benchmark = make_benchmark(kind, n_tasks=6, blurry_percent=0, seed=3)
    assert 0 in benchmark.split.sizes
    multi_label = SCENARIOS[kind].multi_label
    scores = [] if multi_label else [accuracy_metrics(epoch=True, stream=True)]
    evaluator = EvaluationPlugin(loss_metrics(epoch=True, experience=True), *scores, loggers=[])
    strategy = make_strategy(name, multi_label=multi_label, evaluator=evaluator)
    for experience in benchmark.train_stream:
        before = [parameter.clone() for parameter in strategy.model.parameters()]
        assert len(experience.dataset) or not experience.classes_in_this_experience
        strategy.train(experience, shuffle=False)
        if not len(experience.dataset) and name not in ("Replay", "Cumulative"):
            assert all(map(torch.equal, before, strategy.model.parameters()))
        strategy.eval(benchmark.test_stream)
    assert set(strategy.model.rows) == set(np.concatenate(benchmark.split.tasks).tolist())


# Builders


@pytest.mark.parametrize("kind", KINDS)
def test_builders_build_the_benchmark_of_the_split(kind: str) -> None:
    data, parameters = KINDS[kind]
    split_function = getattr(scenarios, f"{kind}_split")
    tests = {"test_labels": data[1].targets} if "multi_label" in kind or kind == "mlcil" else {}
    if kind == "domain_incremental":
        tests = {"domains": data[0].domains}
    expected = split_function(data[0].targets, **parameters, **tests)
    benchmark = make_benchmark(kind)
    assert isinstance(benchmark, CLScenario)
    assert benchmark.split == expected
    assert getattr(scenarios, f"{kind}_benchmark") is getattr(benchmarks, f"{kind}_benchmark")


def test_a_user_function() -> None:
    builder = benchmark_builder(pairs)
    assert builder.__name__ == "pairs_benchmark"
    benchmark = builder(*SINGLE, size=50)
    assert benchmark.split == pairs(LABELS, size=50)
    assert [len(e.dataset) for e in benchmark.train_stream] == [50, 50, 20]


def test_a_function_that_returns_no_split() -> None:
    def rows(targets: Any) -> Split:
        return list(targets)  # type: ignore[return-value]

    with pytest.raises(InputError, match="'rows' must return a Split, not list"):
        benchmark_builder(rows)(*SINGLE)


def test_user_splits() -> None:
    split = Split.of("mine", LABELS, [[3, 1], [], [1, 2]], boundaries=True)
    benchmark = benchmark_from_split(*SINGLE, split)
    assert [e.indices.tolist() for e in benchmark.train_stream] == [[3, 1], [], [1, 2]]
    assert all(e.boundaries and not e.ordered for e in benchmark.train_stream)
    assert len(benchmark.test_stream) == 1
    for boundaries, n_tests in ((True, 2), (False, 1)):
        several = MultiLabelSplit.of("mine", MATRIX, [[0], [0, 1]], boundaries=boundaries)
        assert len(benchmark_from_split(*MULTI, several).test_stream) == n_tests


# Refusals


@pytest.mark.parametrize(
    ("split", "test", "wrong"),
    [
        (si_blurry_split(LABELS), SINGLE[1], np.arange(132) % 12),
        (si_blurry_split(LABELS), SINGLE[1], LABELS // 2 * 2 + np.arange(120) // 60),
        (mlcil_split(MATRIX, protocol="B4-C2"), MULTI[1], MATRIX[::-1]),
        (mlcil_split(MATRIX, protocol="B4-C2"), MULTI[1], MATRIX[:-1]),
        (mlcil_split(MATRIX, protocol="B4-C2"), MULTI[1], MATRIX | MATRIX[::-1]),
    ],
)
def test_splits_of_other_labels_are_refused(split: Any, test: Any, wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"the split was made from other labels"):
        benchmark_from_split(NoImages(wrong), test, split)


# The package


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="si_blury"):
        _ = scenarios.si_blury_benchmark
    assert all(hasattr(scenarios, name) for name in scenarios.__all__)
