"""How far the number of torch's threads enters the numbers: rounding, within documented bounds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.families.test_workers import TEST, Run
from tests.toys import same, weights

#: greatest difference of a weight after a toy run on 2 threads instead of 1: where the backbone is
#: frozen, and where Adam trains it, which blows up the rounding of small gradients
FROZEN = 1e-5
TRAINED = 1e-3


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "scenario", "bound"),
    [
        ("ranpac", "si_blurry", FROZEN),
        ("fine_tuning", "si_blurry", TRAINED),
    ],
)
def test_threads_change_no_more_than_rounding(kind: str, scenario: str, bound: float) -> None:
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(Run(kind, scenario, {}).train(0))
    first, second = (weights(run.strategy) for run in runs)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=bound, msg=name)
    room = 1 / TEST + 1e-9  # of one test image that rounding tips over
    for one, other in zip(*(run.anytime.curve.points() for run in runs), strict=True):
        assert one.samples_seen == other.samples_seen
        assert one.accuracy == pytest.approx(other.accuracy, abs=room, nan_ok=True)
        assert one.scores == pytest.approx(other.scores, abs=room, nan_ok=True)


@pytest.mark.slow
def test_two_threads_train_what_each_trains_alone() -> None:
    kinds = ("hide_prompt", "er")  # one draws at the start of a task, and both augment
    alone = [weights(Run(kind, "class_incremental", {}).train(0).strategy) for kind in kinds]
    # A new model draws from torch's global generator, as all of PyTorch's do.
    runs = [Run(kind, "class_incremental", {}) for kind in kinds]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda run: weights(run.train(0).strategy), runs))
    sys.setswitchinterval(interval)
    for kind, first, second in zip(kinds, alone, together, strict=True):
        assert same(first, second), kind


def test_the_bounds_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "definitions.md").read_text()
    text = " ".join(page.split())
    assert f"within {FROZEN:g} where the backbone is frozen".replace("e-0", "e-") in text
    assert f"{TRAINED:g} where Adam trains the ViT".replace("0.001", "1e-3") in text
