"""When heads are aligned, with what, and that nothing else moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from tests.toy_data import experiences
from tests.toys import POOLS, fit, make, same, watch, weights

ALIGNED: dict[str, Any] = {"align_epochs": 2, "align_samples": 8, "align_lr": 0.01}
every = pytest.mark.parametrize("kind", POOLS)


@every
def test_a_task_end_moves_the_head_alone_from_the_second_task_on(kind: str) -> None:
    strategy, moved = make(kind, "class_incremental", **ALIGNED), []
    finish = strategy.finish_task

    def noting() -> None:
        before = weights(strategy)
        finish()
        after = weights(strategy)
        moved.append({name for name in before if not torch.equal(before[name], after[name])})

    strategy.finish_task = noting
    fit(strategy, experiences("class_incremental"))
    heads = [{name for name in names if name.startswith("head.")} for names in moved]
    assert not heads[0]
    assert all("head.weight" in names for names in heads[1:])
    for names in moved:  # what counts and routes may move, prompts do not
        assert not any("values" in name or ".key" in name for name in names)


@every
def test_statistics_are_those_of_the_task_as_evaluation_sees_it(kind: str) -> None:
    settings = ALIGNED | {"align_statistics": "variance"}
    strategy, stream = make(kind, "class_incremental", **settings), experiences("class_incremental")
    fit(strategy, stream[:1])
    alignment, data = strategy.alignments[0], stream[0].dataset
    assert alignment.observed.tolist() == [True, True, False, False, False, False]
    images, labels = (torch.stack([torch.as_tensor(x[i]) for x in data]) for i in (0, 1))
    model = strategy.model.eval()
    if model.selector is not None:
        model.selector.train()
    with torch.no_grad():
        raw = model.run(images).raw
    for c in (0, 1):
        torch.testing.assert_close(alignment.mean[c, 0], raw[labels == c].mean(dim=0))
        assert alignment.count[c, 0] == (labels == c).sum()


def test_the_head_reads_draws_as_it_reads_features() -> None:
    strategy = make("one_prompt", "class_incremental", head_input="whitened", **ALIGNED)
    fit(strategy, experiences("class_incremental"))
    alignment, seen = strategy.alignments[0], []
    (features, _), *_ = alignment.draw()
    strategy.model.whitening.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    strategy.align(alignment)
    assert seen[0].shape == features.shape
    assert len(seen) == 2 * 6  # epochs times classes


@pytest.mark.parametrize("statistics", ["centroids", "covariance", "variance"])
def test_without_boundaries_statistics_stream_and_the_head_is_aligned_by_period(
    statistics: str,
) -> None:
    settings = ALIGNED | {"align_statistics": statistics}
    strategy, at = make("one_prompt", period=24, **settings), []
    watch(strategy, "align", lambda alignment: at.append(strategy.samples_seen))
    fit(strategy, experiences())
    assert len(at) == 72 // 24
    assert len(strategy.alignments) == (2 if statistics == "centroids" else 1)
    streaming = strategy.alignments[-1]
    assert streaming.statistics == ("variance" if statistics == "centroids" else statistics)
    assert int(streaming.count.sum()) == 72 * strategy.online_iter


@pytest.mark.parametrize("scenario", ["class_incremental", "si_blurry"])
def test_statistics_and_draws_resume_exactly(scenario: str) -> None:
    def new() -> Any:
        return make("one_prompt", scenario, period=24, **ALIGNED)

    stream = experiences(scenario)
    whole, first, second = fit(new(), stream), fit(new(), stream[:2]), new()
    second.load_state_dict(first.state_dict(), stream[:2])
    assert same(weights(whole), weights(fit(second, stream[2:])))


def test_an_alignment_costs_one_more_pass_of_a_task() -> None:
    stream = experiences("class_incremental")
    costs = []
    for settings in ({}, ALIGNED):
        strategy = fit(make("one_prompt", "class_incremental", **settings), stream)
        costs.append(strategy.model.backbone.counter.images)
    assert costs[1] - costs[0] == sum(len(e.dataset) for e in stream)


def test_it_is_for_one_class_an_image() -> None:
    with pytest.raises(InputError, match="images of several are no such draws"):
        make("one_prompt", "mlcil", **ALIGNED)
    assert not make("one_prompt", "mlcil").alignments
