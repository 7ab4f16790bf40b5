"""Avalanche's conventions and ours: arguments, loaders, optimizers, test sets."""

from importlib import import_module

import pytest
import torch

from cl_prompts.strategies import LinearProbe
from tests.toy_data import benchmark, experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make


def test_parameter_groups_survive_and_new_parameters_join_the_first() -> None:
    model = make("mvp").model
    groups = [
        {"params": list(model.head.parameters()), "lr": 0.1},
        {"params": list(model.pools.parameters()), "lr": 0.2},
    ]
    optimizer = torch.optim.SGD(groups)
    strategy = fit(make("mvp", model=model, optimizer=optimizer), experiences())
    assert strategy.optimizer is optimizer
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.2]
    sizes = [len(g["params"]) for g in optimizer.param_groups]
    assert sizes == [4, 2]  # keys and mask joined the first group


def test_the_default_metrics_of_several_labels_measure_map() -> None:
    settings = {"multi_label": True, "device": "cpu", "train_mb_size": 16}
    strategy = LinearProbe(backbone=tiny_vit(), n_classes=6, **settings)
    bench = benchmark("mlcil")
    strategy.train(bench.train_stream[0], eval_streams=[])
    assert any("MeanAP" in name for name in strategy.eval(bench.test_stream[0]))


@pytest.mark.parametrize("ours", ["scenarios", "strategies", "strategies.plugins", "metrics"])
def test_import_star_shadows_nothing_of_avalanche(ours: str) -> None:
    places = ("training", "training.plugins", "benchmarks", "models", "evaluation.metrics", "core")
    theirs = {name for place in places for name in dir(import_module(f"avalanche.{place}"))}
    module = import_module(f"cl_prompts.{ours}")
    shown = {name for name in getattr(module, "__all__", ()) if not name.startswith("_")}
    assert not shown & theirs
