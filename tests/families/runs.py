"""Finished runs of the table, each made once for all families."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import N_CLASSES, benchmark
from tests.toy_vits import lively_vit
from tests.toys import cls_of, fit, make, weights


@dataclass
class Run:
    """A finished run, which tests may read but not change.

    Attributes:
        strategy: after training.
        backbone: that was given.
        original: its state before training.
        before: state of the model before training.
        after: and after it.
        anytime: evaluation beside it, every 30 samples.
    """

    strategy: Any
    backbone: FrozenViT
    original: dict[str, Tensor]
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    anytime: AnytimeEvaluation


def begin(kind: str, scenario: str, **changes: Any) -> Any:
    """The strategy of a run: on other scenarios than Si-Blurry one update a batch is enough."""
    once = scenario != "si_blurry" and not cls_of(kind).whole_stream
    settings: dict[str, Any] = {"online_iter": 1} if once else {}
    return make(kind, scenario, **settings, **changes)


@cache
def finished(kind: str, scenario: str = "si_blurry") -> Run:
    """The table's strategy after the scenario's stream, evaluated on the way."""
    backbone = lively_vit()
    original = {name: value.clone() for name, value in backbone.state_dict().items()}
    streams = benchmark(scenario)
    anytime = AnytimeEvaluation(streams.test_stream[-1].dataset, n_classes=N_CLASSES, every=30)
    strategy = begin(kind, scenario, backbone=backbone, plugins=[anytime])
    before = weights(strategy)
    fit(strategy, streams.train_stream)
    return Run(strategy, backbone, original, before, weights(strategy), anytime)
