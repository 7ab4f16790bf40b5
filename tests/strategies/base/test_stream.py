"""The stream as a strategy sees it: batches in order, each in several views."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.transforms import Augmentation, PrivateRandom
from cl_prompts.strategies.base.stream import Batch, RepeatedBatches, keyed_loader, stream_batches
from tests.toys import make


def batch(annotated: Tensor) -> Batch:
    columns = [torch.arange(5.0)[:, None], torch.tensor([4, 3, 2, 1, 0])]
    return Batch(columns, annotated, slots=torch.tensor([8, 9]))


@pytest.mark.parametrize("shape", [(6,), (5, 6)])
def test_a_part_has_the_rows_of_every_column(shape: tuple[int, ...]) -> None:
    annotated = torch.rand(shape) < 0.5
    whole = batch(annotated)
    part = whole.part(slice(3, None))
    assert part.labels.tolist() == [1, 0]
    assert part.images.flatten().tolist() == [3, 4]
    assert torch.equal(part.annotated, annotated if len(shape) == 1 else annotated[3:])
    assert part.slots.tolist() == [8, 9]
    assert len(whole.labels) == 5


def image_set(n: int) -> ImageSet:
    images = torch.randint(0, 256, (n, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    transform = PrivateRandom(Augmentation().train(16), seed=0)
    return ImageSet(images.to(torch.uint8), np.arange(n), transform)


@pytest.mark.parametrize("order", [None, torch.Generator().manual_seed(0)])
def test_repeated_batches(order: torch.Generator | None) -> None:
    sampler = RepeatedBatches(10, 4, 3, order)
    keyed = list(sampler)
    assert len(keyed) == len(sampler) == 9
    batches = [[row for row, _ in batch] for batch in keyed]
    assert batches[0] == batches[1] == batches[2]
    rows = [row for batch in batches[::3] for row in batch]
    assert sorted(rows) == list(range(10))
    assert (rows == list(range(10))) == (order is None)
    assert sampler.order.tolist() == rows
    assert list(RepeatedBatches(0, 4, 3)) == []


def test_keys_are_stream_positions_and_repetitions() -> None:
    sampler = RepeatedBatches(5, 2, 2)
    sampler.origin = 100
    keys = [[key for _, key in batch] for batch in sampler]
    assert keys[:2] == [[(100, 0), (101, 0)], [(100, 1), (101, 1)]]
    assert keys[-1] == [(104, 1)]
    sampler.start, sampler.origin = 2, 102
    assert [[key for _, key in batch] for batch in sampler] == keys[2:]


def test_a_loader_hands_out_each_batch_with_its_views_and_place() -> None:
    strategy = make("linear_probe", train_mb_size=2, online_iter=3)
    strategy.dataloader = keyed_loader(image_set(5), RepeatedBatches(5, 2, 3))
    found = []
    for part in stream_batches(strategy, start=2):
        views = list(part.views)
        assert views[0] is part.first
        assert not torch.equal(views[0].images, views[1].images)
        found.append((part.start, part.rows.tolist(), [view.labels.tolist() for view in views]))
    assert found == [(2, [2, 3], [[2, 3]] * 3), (4, [4], [[4]] * 3)]
