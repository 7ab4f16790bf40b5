"""Views: the keys they are drawn by, and decoding after the transfer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.transforms.v2.functional import to_dtype

from cl_prompts.datasets.views import (
    DeferredView,
    DeferredViews,
    collated,
    current_key,
    deferring_views,
    defers_views,
    image_of,
    joined,
    scaled,
    view_seed,
    viewing,
)
from cl_prompts.errors import InputError


def doubled(packed: Tensor) -> Tensor:
    return packed.float() * 2


def views(*values: int) -> list[tuple[DeferredView, int]]:
    return [(DeferredView(torch.tensor([v], dtype=torch.uint8), doubled), -v) for v in values]


def test_only_readers_that_say_so_get_them() -> None:
    assert not defers_views()
    with deferring_views():
        assert defers_views()
        with pytest.raises(IndexError), deferring_views():
            [][0]
        assert defers_views()
    assert not defers_views()


def test_a_batch_keeps_its_other_columns_and_is_made_when_sent() -> None:
    batch, labels = collated(views(3, 5, 7), default_collate)
    assert labels.tolist() == [-3, -5, -7]
    assert len(batch) == 3
    assert batch.to("cpu").tolist() == [[6], [10], [14]]
    assert batch[1:].to("cpu", non_blocking=True).tolist() == [[10], [14]]
    both = joined([batch, batch[:1]])
    assert isinstance(both, DeferredViews)
    assert both.to("cpu").tolist() == [[6], [10], [14], [6]]


@pytest.mark.parametrize("items", [["a", "b"], [(torch.ones(2), 1), (torch.zeros(2), 2)], [{}, {}]])
def test_other_items_are_left_to_their_collation(items: list[Any]) -> None:
    assert str(collated(items, default_collate)) == str(default_collate(items))
    assert joined([torch.ones(2), torch.zeros(1)]).tolist() == [1, 1, 0]


def test_what_is_made_otherwise_is_not_joined() -> None:
    other = DeferredView(torch.zeros(1, dtype=torch.uint8), torch.neg)
    at_once = (torch.zeros(1), 0)
    for items in ([*views(1), (other, 0)], [*views(1), at_once], [at_once, *views(1)]):
        with pytest.raises(InputError, match=r"images of different sizes .* augment_on=device"):
            collated(items, default_collate)
    batches: list[Any] = [collated(part, default_collate)[0] for part in (views(1), [(other, 0)])]
    for parts in (batches, batches[::-1], [batches[0], torch.zeros(1)]):
        with pytest.raises(InputError, match=r"images of different sizes .* augment_on=device"):
            joined(parts)


LEVELS = torch.arange(256, dtype=torch.uint8)


def test_levels_are_scaled_as_torchvision_scales_them() -> None:
    """Whatever the normalisation behind it: it is given the same floats."""
    assert torch.equal(scaled(LEVELS), to_dtype(LEVELS, scale=True))


def test_a_batch_of_levels_is_sent_as_bytes_and_scaled_there() -> None:
    items = [(image_of(LEVELS), 1), (image_of(LEVELS.flip(0)), 2)]
    seen: list[Any] = []
    sent, labels = collated(items, default_collate, seen.extend, as_levels=True)
    assert [image.dtype for image in seen] == 2 * [torch.float32]
    assert sent.packed.dtype == torch.uint8
    images = default_collate(items)[0]
    assert torch.equal(sent.to("cpu"), images)
    assert labels.tolist() == [1, 2]
    assert torch.equal(joined([sent, images]), torch.cat([images, images]))
    assert torch.equal(collated(items, default_collate)[0], images)  # as to a CPU


@pytest.mark.parametrize(
    "change",
    [lambda x: x + 1, lambda x: x.mul_(2), lambda x: x.numpy().fill(0) or x, lambda x: x.clone()],
)
def test_what_somebody_computed_from_an_image_is_sent_as_it_is(change: Any) -> None:
    items = [(image_of(LEVELS), 1), (change(image_of(LEVELS)), 2)]
    sent = collated(items, default_collate, as_levels=True)[0]
    assert torch.equal(sent, default_collate(items)[0])


def test_the_innermost_key_counts_and_is_restored() -> None:
    assert current_key() is None
    with viewing(100, 1):
        assert current_key() == (100, 1)
        with viewing():
            assert current_key() == ()
        assert current_key() == (100, 1)
    assert current_key() is None


def test_the_key_is_restored_after_an_error() -> None:
    with pytest.raises(IndexError), viewing(1):
        [][0]
    assert current_key() is None


def test_seeds_tell_keys_apart() -> None:
    keys = [(), (0,), (0, 0), (1,), (1, 0), (0, 1), (2**32,), (2**64, 1), (11,), (1, 1), (-1,)]
    seeds = [view_seed(seed, key) for key in keys for seed in (0, 1, 10)]
    # Seed 1 with key (0,) is not seed 10 with key (), and so on.
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert view_seed(0, (np.int64(7),)) == view_seed(0, (7,))  # type: ignore[arg-type]
    assert view_seed(3, (1, 2)) == 6733988780980349654  # of every platform and release
