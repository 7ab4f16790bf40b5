"""First stages of evaluation passes: kept while images and network are the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.metrics.evaluator import CachedEvaluator
from cl_prompts.metrics.first_stages import BUDGET, FirstStages
from tests.toy_data import N_CLASSES, Blobs, experiences
from tests.toy_vits import lively_vit
from tests.toys import fit, make

SOME = torch.tensor([True, False, True, True, False, False])
ALL = torch.ones(N_CLASSES, dtype=torch.bool)
N = 48
BATCH = 10


def mvp() -> Any:
    model = make("mvp", backbone=lively_vit()).model
    model.observe_classes(torch.arange(N_CLASSES))
    return model


def evaluator(budget: int = BUDGET, *, cache: bool = True) -> tuple[CachedEvaluator, Blobs]:
    test = Blobs(N, seed=2)
    found = CachedEvaluator(test, batch_size=BATCH, cache=cache)
    found.first_stages = FirstStages(budget)
    return found, test


def logits(evaluated: CachedEvaluator, model: Any, seen: Tensor) -> Tensor:
    chunks = list(evaluated.logits(model, seen))
    rows, values = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    return values[rows.argsort()]


def test_the_same_images_are_neither_read_nor_embedded_again() -> None:
    model = mvp()
    counter = model.backbone.counter
    shape = model.backbone.counter.shape
    kept, test = evaluator()
    anew, _ = evaluator(0)
    saved = []
    reads = []
    for seen in (SOME, SOME, ALL, ALL, ALL, SOME, SOME):
        with torch.no_grad():
            model.head.weight += 0.1  # what learns is always as it is now
        test.reads = 0
        counter.reset()
        found = logits(kept, model, seen)
        cost = counter.macs
        reads.append(test.reads)
        counter.reset()
        assert torch.equal(found, logits(anew, model, seen))
        saved.append((counter.macs - cost) / len(found))
    # Of all images half are new at first, then all are batched together.
    assert reads == [24, 0, 24, 48, 0, 24, 0]
    first_stage = shape.embed_macs + 3 * shape.n_tokens * shape.dim * shape.width
    assert saved == pytest.approx([first_stage * share for share in (0, 1, 1 / 2, 0, 1, 0, 1)])


def test_batches_beyond_the_budget_are_computed_each_time() -> None:
    model = mvp()
    one = 4 * (4 * model.backbone.n_tokens + 1) * model.backbone.dim  # and the query
    # Batches of 10, 10, 10, 10 and 8: the last one may fit where the second one does not.
    for budget, reads in ((0, N), (20 * one - 1, N - 18), (20 * one, N - 20)):
        kept, test = evaluator(budget)
        for _ in range(3):
            test.reads = 0
            kept(model, ALL)
        assert test.reads == reads
    assert BUDGET == 2**28


def test_what_is_kept_is_of_this_network_and_query() -> None:
    kept, test = evaluator()
    for model in (mvp(), mvp()):
        for _ in range(2):
            assert torch.equal(logits(kept, model, ALL), logits(evaluator()[0], model, ALL))
    test.reads = 0
    model.query = make("mvp", use_last_block=True).model.query
    assert torch.equal(logits(kept, model, ALL), logits(evaluator()[0], model, ALL))
    assert test.reads == N


def test_without_a_cache_or_an_entry_nothing_is_kept() -> None:
    plain, test = evaluator(cache=False)
    model = mvp()
    for _ in range(2):
        plain(model, ALL)
    assert test.reads == 2 * N
    assert plain.first_stages.bytes == 0
    for kind in ("linear_probe", "one_prompt", "multi_lane"):
        found, _ = evaluator()
        found(fit(make(kind), experiences()).model, ALL)
        assert found.first_stages.bytes == 0


def test_a_resumed_evaluator_counts_what_it_would_have() -> None:
    model = mvp()
    counter = model.backbone.counter
    for seen in (SOME, ALL):
        first, _ = evaluator()
        first(model, SOME)
        twin, test = evaluator()
        twin.load_state_dict(first.state_dict(model), model)
        results = []
        before = first.macs
        for one in (first, twin):
            counter.reset()
            results.append((logits(one, model, seen), counter.macs, counter.images, one.macs))
        assert test.reads == seen.sum() * N // N_CLASSES  # the images are gone
        assert torch.equal(results[0][0], results[1][0])
        assert results[0][1:] == results[1][1:]
        assert results[0][3] > before
        test.reads = 0
        twin(model, SOME if seen is SOME else ALL)
        assert test.reads == (0 if seen is SOME else N)
