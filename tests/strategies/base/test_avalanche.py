"""Avalanche's conventions and ours: arguments, loaders, optimizers, test sets."""

from importlib import import_module
from typing import Any

import pytest
import torch

from cl_prompts.strategies import LinearProbe
from tests.toy_data import benchmark, experiences
from tests.toy_vits import tiny_vit
from tests.toys import make, watch


def test_the_default_metrics_of_several_labels_measure_map() -> None:
    settings = {"multi_label": True, "device": "cpu", "train_mb_size": 16}
    strategy = LinearProbe(backbone=tiny_vit(), n_classes=6, **settings)
    bench = benchmark("mlcil")
    strategy.train(bench.train_stream[0], eval_streams=[])
    assert any("MeanAP" in name for name in strategy.eval(bench.test_stream[0]))


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_stream_may_be_shuffled_and_every_sample_comes_once(shuffle: bool) -> None:
    strategy = make("linear_probe", online_iter=1)
    labels: list[Any] = []
    watch(strategy, "training_loss", lambda output, batch: labels.append(batch.labels))
    first, *_ = experiences("class_incremental")
    strategy.train(first, eval_streams=[], shuffle=shuffle)
    truth = torch.as_tensor(list(first.dataset.targets))
    found = torch.cat(labels)
    assert torch.equal(found, truth) != shuffle
    assert torch.equal(found.sort().values, truth.sort().values)


@pytest.mark.parametrize("ours", ["scenarios", "strategies", "strategies.plugins", "metrics"])
def test_import_star_shadows_nothing_of_avalanche(ours: str) -> None:
    places = ("training", "training.plugins", "benchmarks", "models", "evaluation.metrics", "core")
    theirs = {name for place in places for name in dir(import_module(f"avalanche.{place}"))}
    module = import_module(f"cl_prompts.{ours}")
    shown = {name for name in getattr(module, "__all__", ()) if not name.startswith("_")}
    assert not shown & theirs
