"""When checkpoints of prompts are taken, and who uses their average."""

from typing import Any

import pytest
import torch

from cl_prompts.prompts.wrapped import AveragedPrompts
from cl_prompts.strategies import PromptAveraging
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make, watch

AVERAGED = ["mvp", "l2p", "s_prompt"]


def averaged(kind: str, n_checkpoints: int, scenario: str = "si_blurry", **settings: Any) -> Any:
    plugin = PromptAveraging(checkpoints=n_checkpoints)
    return make(kind, scenario, plugins=[plugin], **settings)


def checkpoints(strategy: Any, stream: Any) -> list[int]:
    """Samples seen at each checkpoint of the last pool."""
    at: list[int] = []
    pool = strategy.model.pools[-1]
    watch(pool, "take_checkpoint", lambda: at.append(strategy.samples_seen))
    fit(strategy, stream)
    return at


def test_checkpoints_divide_an_announced_task_with_all_its_epochs() -> None:
    settings = {"train_epochs": 2, "train_mb_size": 12}
    strategy = averaged("one_prompt", 4, "class_incremental", **settings)
    at = checkpoints(strategy, experiences("class_incremental"))
    assert at == [48 * t + 12 * i for t in range(3) for i in (1, 2, 3, 4)]
    assert int(strategy.model.pools[0].added) == 4


def test_checkpoints_divide_a_period_where_nothing_is_announced() -> None:
    at = checkpoints(averaged("one_prompt", 2, train_mb_size=6, period=24), experiences())
    assert len(at) == 6
    assert all(abs(found - want) <= 6 for found, want in zip(at, range(12, 73, 12), strict=True))


@pytest.mark.parametrize("kind", AVERAGED)
def test_evaluation_uses_the_average_and_training_is_as_without(kind: str) -> None:
    ours = fit(make(kind, period=24), experiences()).model
    theirs = fit(averaged(kind, 3, period=24), experiences()).model
    assert all(isinstance(pool, AveragedPrompts) for pool in theirs.pools)
    assert torch.equal(ours.head.weight, theirs.head.weight)
    images = Blobs(5, seed=3).images
    for mode in (True, False):
        ours.train(mode)
        theirs.train(mode)
        with torch.no_grad():
            equal = torch.equal(ours(images), theirs(images))
        assert equal == mode
