"""What makes a strategy: settings, model and optimizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin

from cl_prompts.backbones import ranks
from cl_prompts.errors import InputError
from cl_prompts.strategies import MVP, LinearProbe
from tests.toy_data import benchmark, experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make


def test_one_model_or_what_builds_it() -> None:
    for given in ({"n_classes": 3}, {"backbone": tiny_vit()}, {}):
        with pytest.raises(InputError, match="give either model= or both backbone= and n_classes="):
            MVP(**given)
    model = make("mvp").model
    assert make("mvp", model=model).model is model


def test_parameter_groups_survive_and_new_parameters_join_the_first() -> None:
    model = make("mvp").model
    groups = [
        {"params": list(model.head.parameters()), "lr": 0.1},
        {"params": list(model.pools.parameters()), "lr": 0.2},
    ]
    optimizer = torch.optim.SGD(groups)
    strategy = make("mvp", model=model, optimizer=optimizer)
    fit(strategy, experiences())
    assert strategy.optimizer is optimizer
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.2]
    sizes = [len(g["params"]) for g in optimizer.param_groups]
    assert sizes == [4, 2]  # keys and mask joined the first group


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_mb_size": 0}, "train_mb_size is 0"),
        ({"online_iter": 0}, "online_iter is 0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"period": -5}, "period is -5"),
        ({"device": "gpux"}, "device 'gpux' is not available"),
        ({"buffer_size": -1}, "buffer_size is -1"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'"),
        ({"poolsize": 3}, "'poolsize'"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make("linear_probe", **changes)


def test_single_label_metrics_are_refused_and_the_default_ones_measure_map() -> None:
    evaluator = EvaluationPlugin(accuracy_metrics(experience=True))
    with pytest.raises(InputError, match="one label per image"):
        make("linear_probe", "mlcil", evaluator=evaluator)
    settings = {"multi_label": True, "device": "cpu", "train_mb_size": 16}
    strategy = LinearProbe(backbone=tiny_vit(), n_classes=6, **settings)
    bench = benchmark("mlcil")
    strategy.train(bench.train_stream[0], eval_streams=[])
    assert any("MeanAP" in name for name in strategy.eval(bench.test_stream[0]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"compile": True}, "compile=True is for one process"),
        ({"views": 1, "views_spill": "there"}, "views_spill is for one process"),
        ({"device": torch.device("cpu", 0)}, "device=cpu:0 is one device, and there are 2 ranks"),
    ],
)
def test_what_several_ranks_cannot_do_is_refused(
    settings: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "size", lambda: 2)
    with pytest.raises(InputError, match=sentence):
        make("er", **settings)
