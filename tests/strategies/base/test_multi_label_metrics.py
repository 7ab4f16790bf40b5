"""Multi-label metrics in Avalanche's evaluator, with an ordinary strategy, and the refusal of
accuracies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import CLExperience, CLStream
from avalanche.benchmarks.scenarios import DatasetExperience
from avalanche.benchmarks.utils import DataAttribute, make_avalanche_dataset
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from cl_prompts.metrics.multi_label import images_with, multi_label_results
from cl_prompts.strategies.base.multi_label_metrics import MultiLabelMetrics

TASKS = ([0, 1], [2, 3])


def quiet(*metrics: Any) -> EvaluationPlugin:
    with pytest.warns(UserWarning, match="No loggers"):
        return EvaluationPlugin(*metrics)


def experience(x: Tensor, y: Tensor, t: int, name: str) -> CLExperience:
    labels = DataAttribute([0] * len(x), "targets_task_labels", use_in_getitem=True)
    made = DatasetExperience(
        dataset=make_avalanche_dataset(TensorDataset(x, y), data_attributes=[labels])
    )
    made.current_experience = t
    made.task_labels = [0]
    made.classes_seen_so_far = [c for task in TASKS[: t + 1] for c in task]
    CLStream(name, [made], benchmark=None, set_stream_info=False)
    made._origin_stream = SimpleNamespace(name=name)
    return made


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator)
    y = (x @ torch.randn(5, 4, generator=generator) > 1).float()
    return x, y


def naive(evaluator: EvaluationPlugin, *, seen: Tensor | None = None) -> Naive:
    torch.manual_seed(0)
    model = nn.Linear(5, 4)
    if seen is not None:
        model.register_buffer("seen", seen)
    return Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        criterion=nn.BCEWithLogitsLoss(),
        train_mb_size=16,
        eval_mb_size=10,
        evaluator=evaluator,
    )


def named(results: dict[str, Any], name: str) -> float:
    (found,) = (value for key, value in results.items() if key.startswith(name))
    return float(found)


def check(strategy: Naive, test: CLExperience, data: Any, classes: Any, f1: float) -> None:
    """Compare an evaluation with the part's results over some classes, at a threshold of F1."""
    x, y = data
    found = strategy.eval([test])
    with torch.no_grad():
        logits = strategy.model(x)
    rows = images_with(y, classes)
    wanted = multi_label_results(logits, y, classes, rows=rows, thresholds=(f1,))
    assert named(found, "MeanAP_Exp/eval_phase/test_stream/Task000") == pytest.approx(
        wanted.mean_ap
    )
    assert named(found, "CF1_Exp") == pytest.approx(wanted.f1[f1]["cf1"])
    assert named(found, "OF1_Exp") == pytest.approx(wanted.f1[f1]["of1"])


EARLY = torch.tensor([True, True, False, False])


@pytest.mark.parametrize("task", [0, 1])
def test_values_are_those_of_the_part_over_the_classes_of_the_stream_so_far(
    data: Any, task: int
) -> None:
    x, y = data
    classes = EARLY if task == 0 else torch.ones(4, dtype=torch.bool)
    strategy = naive(quiet(MultiLabelMetrics(threshold=0.5)))
    strategy.train(experience(x, y * classes, task, "train"))
    check(strategy, experience(x, y, task, "test"), data, classes, 0.5)


def test_a_model_that_knows_what_it_has_seen_is_asked(data: Any) -> None:
    seen = torch.tensor([False, True, False, True])
    strategy = naive(quiet(MultiLabelMetrics()), seen=seen)
    strategy.train(experience(*data, 0, "train"))
    check(strategy, experience(*data, 0, "test"), data, seen, 0.8)
