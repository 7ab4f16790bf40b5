"""Results do not depend on the number of loader processes, even if it changes mid-run."""

from typing import Any

import numpy as np
import pytest
import torch

from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.transforms import Augmentation, PrivateRandom
from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import BENCHMARKS, MULTI_LABEL_SCENARIOS, Blobs, Scenes
from tests.toys import make, on_two_blocks, same, watch, weights

TRAIN = 48
TEST = 12
AUGMENTATION = Augmentation(padding=2, affine=1)

#: one of each way in which images are read: the stream alone, several epochs of it, replayed,
#: replayed alone, looked through for losses or for uncertainty, once more at the end of a task, as
#: one view of each sample
CASES = [
    ("derpp", "si_blurry_multi_label", {}),
    ("multi_lane", "mlcil", {}),
    ("clib_tuned", "si_blurry", {}),
    ("rainbow_chosen", "si_blurry", {"reuse_features": False, "rehearsal_epochs": 1}),
    ("aper", "class_incremental", {"train_epochs": 2}),
    ("mvp_r", "si_blurry", {"one_view": True}),
]


def augmented(scenario: str, augmentation: Augmentation = AUGMENTATION) -> Any:
    """A benchmark of a scenario whose training images are augmented."""
    kind: Any = Scenes if scenario in MULTI_LABEL_SCENARIOS else Blobs
    train = kind(TRAIN, seed=1)
    test = kind(TEST, seed=2)
    parts = [
        ImageSet(data.images.mul(255).to(torch.uint8), np.asarray(data.targets), transform)
        for data, transform in (
            (train, PrivateRandom(augmentation.train(16), seed=5)),
            (test, augmentation.test(16)),
        )
    ]
    return BENCHMARKS[scenario](*parts), parts[1]


class Run:
    """A run with a curve beside it.

    Attributes:
        strategy: that trains.
        anytime: that evaluates it.
        stream: the last two of three experiences, of several batches.
    """

    def __init__(self, kind: str, scenario: str, changes: dict[str, Any]) -> None:
        benchmark, test = augmented(scenario)
        self.anytime = AnytimeEvaluation(test, every=30)
        self.strategy = make(
            kind, scenario, plugins=[self.anytime], **on_two_blocks(kind), **changes
        )
        self.stream = list(benchmark.train_stream)[1:]

    def train(self, workers: int, first: int = 0) -> "Run":
        """Train from an experience to the end, jointly if the strategy needs all data."""
        whole = self.strategy.whole_stream
        parts: list[Any] = [self.stream] if whole else self.stream[first:]
        for part in parts:
            self.strategy.train(part, eval_streams=[], num_workers=workers)
        return self

    def assert_equal(self, other: "Run") -> None:
        """Weights, buffer and every evaluation agree bit for bit."""
        assert same(weights(self.strategy), weights(other.strategy))
        assert torch.equal(self.strategy.buffer.slots, other.strategy.buffer.slots)
        assert self.anytime.curve.points()
        assert repr(self.anytime.curve.state_dict()) == repr(other.anytime.curve.state_dict())


class Stop(Exception):
    """Where the first half of a run ends."""


def stopped(run: Run, workers: int, batches: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train up to a stream batch; the states of strategy and curve there."""
    states = []

    def between_batches() -> None:
        states.append((run.strategy.state_dict(), run.anytime.state_dict()))
        if len(states) == batches:
            raise Stop

    run.strategy.between_batches = between_batches
    with pytest.raises(Stop):
        run.train(workers)
    # Left to the garbage collector, its processes would block some later test for ten seconds.
    run.strategy.replay.close()
    return states[-1]


@pytest.mark.parametrize(("kind", "scenario", "changes"), CASES)
def test_workers_change_no_number(kind: str, scenario: str, changes: dict[str, Any]) -> None:
    alone = Run(kind, scenario, changes).train(0)
    # Inside of the first or second experience.
    state, curve = stopped(Run(kind, scenario, changes), 2, batches=2)
    resumed = Run(kind, scenario, changes)
    begun = state["experiences"]
    experiences = [] if resumed.strategy.whole_stream else resumed.stream[: begun + 1]
    resumed.strategy.load_state_dict(state, experiences)
    resumed.anytime.load_state_dict(curve)
    resumed.train(1, first=begun).assert_equal(alone)


def test_every_repetition_epoch_and_task_is_another_view() -> None:
    run = Run("er", "class_incremental", {"train_epochs": 2})
    shown: list[torch.Tensor] = []
    watch(run.strategy, "training_loss", lambda output, batch: shown.extend(batch.images))
    run.train(0)
    flat = torch.stack(shown).flatten(1)
    assert len(flat) > 2 * 2 * sum(len(experience.dataset) for experience in run.stream)
    # Now and then two of an image's views agree.
    assert len(flat.unique(dim=0)) > 0.95 * len(flat)
