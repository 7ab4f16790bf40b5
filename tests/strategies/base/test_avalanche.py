"""Avalanche's conventions and ours: arguments, loaders, optimizers, test sets."""

from importlib import import_module

import pytest

from cl_prompts.strategies import LinearProbe
from tests.toy_data import benchmark
from tests.toy_vits import tiny_vit


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
