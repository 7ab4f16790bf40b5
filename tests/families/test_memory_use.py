"""A strategy holds as much after 6 more steps as before them."""

from __future__ import annotations

import gc
from itertools import pairwise
from types import BuiltinFunctionType
from typing import Any
from weakref import ref

import pytest
import torch
from avalanche.core import SupervisedPlugin

from cl_prompts.scenarios import iid_benchmark
from tests.toy_data import Blobs
from tests.toy_vits import tiny_vit
from tests.toys import REPLAYING, TABLE, fit, make

#: steps before the first look, after the first periods of each kind, and between two looks: a
#: period of 24 samples
FIRST = 13
STEPS = 6
BATCH = 4
#: the census itself makes a storage per tensor, and isinstance caches weak references now and then
FROM_ELSEWHERE = (torch.UntypedStorage, ref, BuiltinFunctionType)


class Census(SupervisedPlugin):
    """Counts what is alive after some steps: tensors, their bytes, and all objects that hold
    others."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.counts = []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.steps += 1
        # The first census leaves weak references behind, and so does not count.
        if self.steps in (FIRST - 1, FIRST, FIRST + STEPS, FIRST + 2 * STEPS):
            gc.collect()
            alive = [x for x in gc.get_objects() if type(x) not in FROM_ELSEWHERE]
            tensors = [x for x in alive if isinstance(x, torch.Tensor)]
            self.counts.append(
                (len(tensors), sum(x.untyped_storage().nbytes() for x in tensors), len(alive))
            )


@pytest.fixture(scope="module")
def only_new_objects() -> None:
    """Leave out what was there before: libraries hold a million objects."""
    gc.collect()
    gc.freeze()


@pytest.mark.parametrize("kind", TABLE)
def test_memory_is_flat_over_many_steps(kind: str, only_new_objects: None) -> None:
    n = BATCH * (FIRST + 2 * STEPS + 1)
    census = Census()
    row = TABLE[kind]
    stream = iid_benchmark(Blobs(n, size=8), Blobs(6, size=8)).train_stream
    # As little work as possible: a ViT of two blocks and one patch, few samples a step.
    settings: dict[str, Any] = {"train_mb_size": BATCH, "train_epochs": 1, "online_iter": 1}
    settings |= {"buffer_batch_size": 2} if kind in REPLAYING else {}
    small = tiny_vit(img_size=8, depth=2)
    fit(make(kind, backbone=small, plugins=[census], **settings | row.two_blocks), stream)
    first, *later = census.counts[1:]
    assert census.steps > FIRST + 2 * STEPS
    for tensors, size, _ in later:
        assert (tensors, size) == first[:2]
    objects = [count for *_, count in (first, *later)]
    # Nothing is kept of each step, not even a list. The runner of tests, in a thread of its own,
    # may be sent something between two looks, but not each time.
    assert min(b - a for a, b in pairwise(objects)) < STEPS // 2
