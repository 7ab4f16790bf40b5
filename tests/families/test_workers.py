"""Results do not depend on the number of loader processes, even if it changes mid-run."""

from typing import Any

import numpy as np
import pytest
import torch

from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.transforms import Augmentation, PrivateRandom
from cl_prompts.strategies import AnytimeEvaluation
from tests.families.test_resume import resumed, stopped_after
from tests.toy_data import BENCHMARKS, MULTI_LABEL_SCENARIOS, Blobs, Scenes
from tests.toys import fit, make, on_two_blocks, same, watch, weights

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


def begun(kind: str, scenario: str, changes: dict[str, Any]) -> tuple[Any, Any, list[Any]]:
    """A strategy, its curve, and the last two of three experiences, of several batches."""
    benchmark, test = augmented(scenario)
    anytime = AnytimeEvaluation(test, every=30)
    strategy = make(kind, scenario, plugins=[anytime], **on_two_blocks(kind), **changes)
    return strategy, anytime, list(benchmark.train_stream)[1:]


@pytest.mark.parametrize(("kind", "scenario", "changes"), CASES)
def test_workers_change_no_number(kind: str, scenario: str, changes: dict[str, Any]) -> None:
    alone, curve, stream = begun(kind, scenario, changes)
    fit(alone, stream, num_workers=0)
    # Inside of the first or second experience.
    first, _, stream = begun(kind, scenario, changes)
    state = stopped_after(first, stream, 2, num_workers=2)
    second, again, stream = begun(kind, scenario, changes)
    resumed(second, state, stream, num_workers=1)
    assert same(weights(alone), weights(second))
    assert torch.equal(alone.buffer.slots, second.buffer.slots)
    assert curve.curve.points()
    assert repr(curve.curve.state_dict()) == repr(again.curve.state_dict())


def test_every_repetition_epoch_and_task_is_another_view() -> None:
    strategy, _, stream = begun("er", "class_incremental", {"train_epochs": 2})
    shown: list[torch.Tensor] = []
    watch(strategy, "training_loss", lambda output, batch: shown.extend(batch.images))
    fit(strategy, stream)
    flat = torch.stack(shown).flatten(1)
    assert len(flat) > 2 * 2 * sum(len(experience.dataset) for experience in stream)
    # Now and then two of an image's views agree.
    assert len(flat.unique(dim=0)) > 0.95 * len(flat)
