"""What strategies and their plugins refuse, each with its sentence."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
from torch import nn

from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies import MVP, AnytimeEvaluation, SlowHeads, make_plugins
from cl_prompts.strategies.base.experience import check_labels
from cl_prompts.strategies.base.multi_label_metrics import MultiLabelMetrics
from tests.refusals import check_refusals
from tests.toy_data import Blobs, experiences
from tests.toy_vits import lively_vit, tiny_vit
from tests.toys import fit, make

FROM_ZERO = SimpleNamespace(benchmark=SimpleNamespace(class_ids_from_zero_in_each_exp=True))
OF_TRAINED_HEADS = ("self_regulation", "head_alignment", "slow_heads", "distillation")


def with_plugin(kind: str, name: str, **settings: Any) -> Any:
    return make(kind, plugins=make_plugins({name: settings}))


def labels(targets: list[Any], n_classes: int = 6, *, several: bool = False, **of: Any) -> None:
    model = PromptedViT(tiny_vit(), n_classes, multi_label=several)
    experience: Any = SimpleNamespace(dataset=SimpleNamespace(targets=targets), **of)
    check_labels(experience, model, "Learner")


def load(saved: Any, *, kind: str = "linear_probe", **settings: Any) -> None:
    make(kind, **settings).load_state_dict(saved.state_dict())


def test_construction() -> None:
    accuracy = EvaluationPlugin(accuracy_metrics(experience=True))
    cases = {
        "no model": MVP,
        "no classes": lambda: MVP(backbone=tiny_vit()),
        "arguments in Avalanche's order": lambda: MVP(nn.Linear(3, 2), None, nn.CrossEntropyLoss()),
        "another network as backbone": lambda: MVP(backbone=nn.Linear(3, 2), n_classes=2),
        "a loss": lambda: make("mvp", criterion=nn.CrossEntropyLoss()),
        "a class of optimizers": lambda: make("mvp", optimizer=torch.optim.Adam),
        "data without experiences": lambda: make("mvp").train(Blobs(6, 6)),
        "another network as model": lambda: MVP(model=nn.Linear(3, 2)),
        "a batch mask of several": lambda: make("linear_probe", "mlcil", class_mask="batch"),
        "accuracy of several": lambda: make("linear_probe", "mlcil", evaluator=accuracy),
        "no buffer": lambda: make("derpp", buffer_size=0),
        "two buffers": lambda: fit(make("er", plugins=[ReplayPlugin(20)]), experiences()),
        "a buffer of sums": lambda: make("ncm", buffer_size=5),
        "a misspelt setting": lambda: SlowHeads(decay=0.9),
        **{f"{name} of ncm": lambda n=name: with_plugin("ncm", n) for name in OF_TRAINED_HEADS},
        "no head over all": lambda: with_plugin("mixture_prompt", "distillation"),
        "a period": lambda: AnytimeEvaluation(Blobs(6, 6), every=0),
        "points": lambda: AnytimeEvaluation(Blobs(6, 6), points="all"),
        "a benchmark as test set": lambda: AnytimeEvaluation(SimpleNamespace()),
        "a threshold": lambda: MultiLabelMetrics(threshold=80),
    }
    check_refusals(Path(__file__).with_name("construction.txt"), cases)


def test_data_and_states() -> None:
    other = lively_vit()
    other.mean[0, 1] += 0.1
    ours = make("linear_probe")
    single = SimpleNamespace(mb_y=torch.zeros(16).long(), mb_output=torch.zeros(16, 4))
    cases = {
        "rows": lambda: labels([[0, 1], [1, 1]]),
        "a class too many": lambda: labels([0, 6]),
        "a negative class": lambda: labels([-1, 2]),
        "ids from zero": lambda: labels([0, 1], origin_stream=FROM_ZERO),
        "classes for rows": lambda: labels([0, 1], 3, several=True),
        "short rows": lambda: labels([[0, 1]], 3, several=True),
        "single labels": lambda: MultiLabelMetrics().after_eval_iteration(single),
        "a buffer without its images": lambda: load(fit(make("er"), experiences()), kind="er"),
        "another backbone": lambda: load(ours, backbone=other),
    }
    check_refusals(Path(__file__).with_name("data.txt"), cases)
