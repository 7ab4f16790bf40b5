"""Avalanche benchmarks over splits: their builders, given splits, refusals, and Avalanche's own
strategies training on them."""

import numpy as np
import pytest
import torch
from avalanche.benchmarks import CLScenario
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.training.plugins import EvaluationPlugin

from cl_prompts import scenarios
from cl_prompts.scenarios import (
    SCENARIOS,
    LabelNoise,
    MultiLabelSplit,
    Split,
    benchmark_builder,
    benchmark_from_split,
    si_blurry_benchmark,
)
from tests.scenarios.images import (
    KINDS,
    MULTI,
    SINGLE,
    STRATEGIES,
    make_benchmark,
    make_strategy,
    row_of,
)
from tests.scenarios.test_registry import halves

torch.set_num_threads(1)
LABELS = SINGLE[0].targets
MATRIX = MULTI[0].targets
#: makes some tasks of blurry streams empty
GAPS = {"n_tasks": 6, "blurry_percent": 0, "seed": 3}


@pytest.mark.parametrize("kind", ["si_blurry", "mlcil", "si_blurry_multi_label"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_avalanche_strategies_train_and_evaluate(name: str, kind: str) -> None:
    benchmark = make_benchmark(kind, **({} if kind == "mlcil" else GAPS))
    assert (0 in benchmark.split.sizes) is (kind != "mlcil")
    multi_label = SCENARIOS[kind].multi_label
    scores = [] if multi_label else [accuracy_metrics(stream=True), forgetting_metrics(stream=True)]
    evaluator = EvaluationPlugin(loss_metrics(epoch=True, experience=True), *scores, loggers=[])
    strategy = make_strategy(name, multi_label=multi_label, evaluator=evaluator)
    for task, experience in enumerate(benchmark.train_stream):
        before = [parameter.clone() for parameter in strategy.model.parameters()]
        rows_before = len(strategy.model.rows)
        strategy.train(experience, shuffle=not experience.ordered)
        delivered = strategy.model.rows[rows_before:]
        assert set(experience.indices.tolist()) <= set(delivered)
        assert bool(delivered) is not all(map(torch.equal, before, strategy.model.parameters()))
        if name == "Naive" and experience.ordered:
            assert delivered == experience.indices.tolist()
        metrics = strategy.eval([benchmark.test_stream[task if kind == "mlcil" else 0]])
        losses = [v for key, v in metrics.items() if key.startswith("Loss_Exp/eval_phase/test_st")]
        assert losses
        # EWC divides by the length of an empty task.
        assert np.isfinite(losses).all() or name == "EWC"
    if not multi_label and name != "EWC":
        assert metrics["Top1_Acc_Stream/eval_phase/test_stream/Task000"] > 1 / 12


@pytest.mark.parametrize("kind", KINDS)
def test_builders_build_the_benchmark_of_the_split(kind: str) -> None:
    data, parameters = KINDS[kind]
    domains = {"domains": data[0].domains} if kind == "domain_incremental" else {}
    benchmark = make_benchmark(kind)
    assert isinstance(benchmark, CLScenario)
    split = getattr(scenarios, f"{kind}_split")
    assert benchmark.split == split(data[0].targets, **parameters, **domains)


@pytest.mark.parametrize("kind", KINDS)
def test_training_labels_may_be_wrong(kind: str) -> None:
    train, several = KINDS[kind][0][0], SCENARIOS[kind].multi_label
    noise = LabelNoise("extra" if several else "symmetric", rate=0.3, seed=5)
    given = noise.apply(train).targets
    benchmark, clean = make_benchmark(kind, label_noise=noise), make_benchmark(kind)
    assert benchmark.split != clean.split
    wrong = 0
    for experience, visible in zip(benchmark.train_stream, benchmark.split.visible, strict=True):
        shown = visible if several else 1
        for image, label, _ in experience.dataset:
            row = row_of(image)
            assert np.array_equal(label, given[row] * shown)
            wrong += not np.array_equal(label, train.targets[row] * shown)
    assert wrong > 0
    for one, other in zip(benchmark.test_stream, clean.test_stream, strict=True):
        assert several or [*one.dataset.targets] == [*other.dataset.targets]


def test_training_labels_of_a_data_set_of_avalanche_may_be_wrong() -> None:
    train, test = map(as_classification_dataset, SINGLE)
    noise = LabelNoise("pairs", rate=0.5, pairs={0: 3})
    whole = si_blurry_benchmark(train, test, n_tasks=2, label_noise=noise).train_stream.joint()
    labels = {row_of(image): label for image, label, _ in whole.dataset}
    assert sum(labels[row] != LABELS[row] for row in labels) == 5
    assert {labels[row] for row in range(0, 120, 12)} == {0, 3}


def test_user_functions_and_splits() -> None:
    builder = benchmark_builder(halves)
    assert builder.__name__ == "halves_benchmark"
    assert builder(*SINGLE, seed=5).split == halves(LABELS, seed=5)
    split = Split.of("mine", LABELS, [[3, 1], [], [1, 2]], boundaries=True)
    benchmark = benchmark_from_split(*SINGLE, split)
    assert [e.indices.tolist() for e in benchmark.train_stream] == [[3, 1], [], [1, 2]]
    assert all(e.boundaries and not e.ordered for e in benchmark.train_stream)
    assert len(benchmark.test_stream) == 1
    for boundaries, n_tests in ((True, 2), (False, 1)):
        several = MultiLabelSplit.of("mine", MATRIX, [[0], [0, 1]], boundaries=boundaries)
        assert len(benchmark_from_split(*MULTI, several).test_stream) == n_tests
