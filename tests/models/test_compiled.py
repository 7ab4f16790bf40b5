"""The compiled part of passes: the numbers and counts of the plain one, compiled once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import _dynamo as dynamo

from cl_prompts import scenarios
from cl_prompts.models import compiled
from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import Blobs
from tests.toy_vits import lively_vit
from tests.toys import TABLE, cls_of, make, weights

#: of the strategies that have the setting one; test_forward.py traces the others, in less time
COMPILED = ("mvp",)
#: blocks of the ViT, since each is traced: the fewest that the strategy can prompt
DEPTH = {"mvp": 2}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The graphs that are compiled, by a backend that runs them as they are."""
    found: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Callable[..., Any]:
        found.append(graph)
        forward: Callable[..., Any] = graph.forward
        return forward

    plain = compiled.CompiledDecoding

    def decoding(model: Any) -> compiled.CompiledDecoding:
        return plain(model, backend)

    monkeypatch.setattr("cl_prompts.strategies.base.construction.CompiledDecoding", decoding)
    dynamo.reset()
    yield found
    dynamo.reset()


def run(kind: str, **options: Any) -> tuple[Any, Any]:
    """A run over five tasks with batches of several sizes, and an evaluation after each task."""
    test: Any = Blobs(14, seed=2)
    bench = scenarios.si_blurry_benchmark(Blobs(46, seed=1), test, n_tasks=5, seed=3)
    anytime = AnytimeEvaluation(test, n_classes=6, every=None, batch_size=8)
    strategy = make(
        kind,
        "si_blurry",
        backbone=lively_vit(depth=DEPTH[kind]),
        train_mb_size=6,
        plugins=[anytime],
        **{**TABLE[kind].two_blocks, **options},
    )
    parts: Any = [bench.train_stream] if strategy.whole_stream else bench.train_stream
    for part in parts:
        strategy.train(part, eval_streams=[])
    return strategy, anytime


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPILED)
def test_a_run_compiles_once_for_training_and_once_for_evaluation(
    kind: str, graphs: list[Any]
) -> None:
    # Tokens of a pool smaller than the batch are projected once an entry, except where compiled.
    options = {"pool_size": 8} if kind == "mvp" else {}
    plain, points = run(kind, **options)
    assert not graphs
    strategy, found = run(kind, compile=True, **options)
    assert 1 <= len(graphs) <= 2
    assert not dynamo.utils.counters["graph_break"]
    here = plain.model.backbone.counter
    there = strategy.model.backbone.counter
    assert (there.images, there.blocks) == (here.images, here.blocks)
    assert there.macs == pytest.approx(here.macs)
    kept = weights(plain)
    for name, value in weights(strategy).items():
        torch.testing.assert_close(value, kept[name], msg=name)
    wanted = [p.accuracy for p in points.curve.task_ends]
    assert [p.accuracy for p in found.curve.task_ends] == pytest.approx(wanted, nan_ok=True)


def test_methods_that_would_recompile_have_no_compile_setting() -> None:
    without = {kind for kind in TABLE if "compile" not in cls_of(kind).settings()}
    assert {"multi_lane", "slda", "flyprompt", "smope"} <= without
    assert not without & {"er", *COMPILED}
