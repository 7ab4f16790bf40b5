"""Finished runs of the table, each made once for all families."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import N_CLASSES, Blobs, benchmark
from tests.toys import cls_of, fit, make, trained_on, weights

IMAGES = Blobs(12, seed=7).images


@dataclass
class Run:
    """A finished run, which tests may read but not change.

    Attributes:
        strategy: after training.
        before: state of the model before training.
        after: and after it.
        anytime: evaluation beside it, every 30 samples.
        early: classes seen after the first task, and the scores of some images then; nothing of
            strategies that want the whole stream at once.
    """

    strategy: Any
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    anytime: AnytimeEvaluation
    early: tuple[Tensor, Tensor] | None


def begin(kind: str, scenario: str, **changes: Any) -> Any:
    """The strategy of a run: on other scenarios than Si-Blurry one update a batch is enough."""
    once = scenario != "si_blurry" and not cls_of(kind).whole_stream
    settings: dict[str, Any] = {"online_iter": 1} if once else {}
    return make(kind, scenario, **settings, **changes)


def finished(kind: str, scenario: str = "") -> Run:
    """The table's strategy after the scenario's stream, evaluated on the way; by default that of a
    scenario that it is trained on anyway."""
    return _finished(kind, scenario or trained_on(kind)[0])


@cache
def _finished(kind: str, scenario: str) -> Run:
    streams = benchmark(scenario)
    anytime = AnytimeEvaluation(streams.test_stream[-1].dataset, n_classes=N_CLASSES, every=30)
    strategy = begin(kind, scenario, plugins=[anytime])
    before = weights(strategy)
    first, *rest = streams.train_stream
    if strategy.whole_stream:
        fit(strategy, [first, *rest])
        return Run(strategy, before, weights(strategy), anytime, None)
    fit(strategy, [first])
    early = strategy.model.seen.clone(), scores(strategy, IMAGES)
    fit(strategy, rest)
    return Run(strategy, before, weights(strategy), anytime, early)


def scores(strategy: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = strategy.model.eval()(images)
    return found
