"""When checkpoints of prompts are taken, and who uses their average."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.prompts.wrapped import AveragedPrompts
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make, same, watch, weights

AVERAGED = ["mvp", "l2p", "dual_prompt", "s_prompt", "one_prompt", "single_prompt"]


def checkpoints(strategy: Any, stream: Any) -> list[int]:
    """Samples seen at each checkpoint of the last pool."""
    at: list[int] = []
    watch(strategy.averaged[-1], "take_checkpoint", lambda: at.append(strategy.samples_seen))
    fit(strategy, stream)
    return at


def test_checkpoints_divide_an_announced_task_with_all_its_epochs() -> None:
    settings = {"train_epochs": 2, "train_mb_size": 12, "average_checkpoints": 4}
    strategy = make("one_prompt", "class_incremental", **settings)
    stream = experiences("class_incremental")
    assert checkpoints(strategy, stream) == [
        48 * t + 12 * i for t in range(3) for i in (1, 2, 3, 4)
    ]
    assert int(strategy.averaged[0].added) == 4


def test_checkpoints_divide_a_period_where_nothing_is_announced() -> None:
    settings = {"train_mb_size": 6, "period": 24, "average_checkpoints": 2}
    at = checkpoints(make("one_prompt", **settings), experiences())
    assert len(at) == 6
    assert all(abs(found - want) <= 6 for found, want in zip(at, range(12, 73, 12), strict=True))


def test_a_long_batch_counts_for_all_checkpoints_that_it_passes() -> None:
    strategy = make("one_prompt", train_mb_size=24, period=24, average_checkpoints=3, seed=1)
    strategy.boundaries = False
    assert len(checkpoints(strategy, experiences("class_incremental"))) == 9


@pytest.mark.parametrize("kind", AVERAGED)
def test_evaluation_uses_the_average_and_training_is_as_without(kind: str) -> None:
    plain = fit(make(kind, period=24), experiences())
    averaged = fit(make(kind, period=24, average_checkpoints=3), experiences())
    assert all(isinstance(pool, AveragedPrompts) for pool in averaged.model.pools)
    ours, theirs = plain.model, averaged.model
    assert torch.equal(ours.head.weight, theirs.head.weight)
    images = Blobs(5, seed=3).images
    for mode in (True, False):
        ours.train(mode)
        theirs.train(mode)
        with torch.no_grad():
            equal = torch.equal(ours(images), theirs(images))
        assert equal == mode


@pytest.mark.parametrize("scenario", ["class_incremental", "si_blurry"])
def test_the_place_between_checkpoints_resumes(scenario: str) -> None:
    def new() -> Any:
        return make("s_prompt", scenario, period=40, average_checkpoints=3, train_mb_size=12)

    stream = experiences(scenario)
    whole, first, second = fit(new(), stream), fit(new(), stream[:2]), new()
    second.load_state_dict(first.state_dict(), stream[:2])
    assert (second._in_span, second._taken) == (first._in_span, first._taken)
    assert same(weights(whole), weights(fit(second, stream[2:])))


@pytest.mark.parametrize("kind", ["coda_prompt", "vq_prompt", "smope", "additive_prompt"])
def test_it_needs_entries_of_pools(kind: str) -> None:
    with pytest.raises(InputError, match="average_checkpoints averages entries of pools, and"):
        make(kind, average_checkpoints=3)
    with pytest.raises(InputError, match="give one of the two"):
        make("one_prompt", average_checkpoints=3, prompt_encoder="mlp")
