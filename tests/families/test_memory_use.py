"""A strategy holds as much after 500 more steps as before them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin

from cl_prompts.scenarios import iid_benchmark
from tests.conftest import Blobs, tiny_vit
from tests.strategies.table import N_CLASSES, TABLE, make

FIRST, STEPS = 50, 500
#: as little work as possible: a ViT of two blocks and one patch, two samples a step
SMALL: dict[str, Any] = {"img_size": 8, "depth": 2}
PLACES: dict[str, dict[str, Any]] = {
    "mvp": {"g_blocks": (0,), "e_blocks": (1,)},
    "multi_lane": {"prompted_blocks": (0,), "lane_samples": 10_000},
    "dual_prompt": {"e_blocks": (1,)},
    **{kind: {"prompted_blocks": (0,)} for kind in ("coda_prompt", "s_prompt", "one_prompt")},
    "rainbow": {"rehearsal_epochs": 1},
}


class Census(SupervisedPlugin):
    """Counts what is alive after some steps: tensors, their bytes, and all objects that hold
    others."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.counts = 0, []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.steps += 1
        if self.steps in (FIRST, FIRST + STEPS):
            gc.collect()
            alive = gc.get_objects()
            tensors = [x for x in alive if isinstance(x, torch.Tensor)]
            self.counts.append(
                (len(tensors), sum(x.untyped_storage().nbytes() for x in tensors), len(alive))
            )


@pytest.fixture(scope="module")
def only_new_objects() -> Iterator[None]:
    """Leave out what was there before: libraries hold a million objects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("kind", TABLE)
def test_memory_is_flat_over_500_steps(kind: str, only_new_objects: None) -> None:
    n, census = 2 * (FIRST + STEPS) + 2, Census()
    (experience,) = iid_benchmark(
        Blobs(n, N_CLASSES, size=8), Blobs(6, N_CLASSES, size=8)
    ).train_stream
    steps = {"train_mb_size": 2, "train_epochs": 1, "online_iter": 1}
    held = {"buffer_size": 12, "buffer_batch_size": 2} if "buffer_size" in TABLE[kind][1] else {}
    often = {"period": 40} if "period" in TABLE[kind][1] else {}
    strategy = make(
        kind,
        backbone=tiny_vit(**SMALL),
        plugins=[census],
        **{**steps, **held, **often, **PLACES.get(kind, {})},
    )
    strategy.train(experience, eval_streams=[])
    (tensors, size, objects), (later_tensors, later_size, later_objects) = census.counts
    assert census.steps > FIRST + STEPS
    assert later_tensors == tensors
    assert later_size == size
    assert later_objects - objects < STEPS // 2  # nothing is kept of each step, not even a list
