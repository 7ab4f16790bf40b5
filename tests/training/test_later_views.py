"""Views that are made later: who gets them, and how they are joined, cut and sent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from cl_prompts.errors import InputError
from cl_prompts.training.later_views import (
    LaterView,
    LaterViews,
    collated,
    joined,
    made_later,
    making_later,
)


def doubled(packed: Tensor) -> Tensor:
    return packed.float() * 2


def views(*values: int) -> list[tuple[LaterView, int]]:
    return [(LaterView(torch.tensor([v], dtype=torch.uint8), doubled), -v) for v in values]


def test_only_readers_that_say_so_get_them() -> None:
    assert not made_later()
    with making_later():
        assert made_later()
        with pytest.raises(IndexError), making_later():
            [][0]
        assert made_later()
    assert not made_later()


def test_a_batch_keeps_its_other_columns_and_is_made_when_sent() -> None:
    batch, labels = collated(views(3, 5, 7), default_collate)
    assert labels.tolist() == [-3, -5, -7]
    assert len(batch) == 3
    assert batch.to("cpu").tolist() == [[6], [10], [14]]
    assert batch[1:].to("cpu", non_blocking=True).tolist() == [[10], [14]]
    both = joined([batch, batch[:1]])
    assert isinstance(both, LaterViews)
    assert both.to("cpu").tolist() == [[6], [10], [14], [6]]


@pytest.mark.parametrize("items", [["a", "b"], [(torch.ones(2), 1), (torch.zeros(2), 2)], [{}, {}]])
def test_other_items_are_left_to_their_collation(items: list[Any]) -> None:
    assert str(collated(items, default_collate)) == str(default_collate(items))
    assert joined([torch.ones(2), torch.zeros(1)]).tolist() == [1, 1, 0]


def test_what_is_made_otherwise_is_not_joined() -> None:
    other = LaterView(torch.zeros(1, dtype=torch.uint8), torch.neg)
    at_once = (torch.zeros(1), 0)
    for items in ([*views(1), (other, 0)], [*views(1), at_once], [at_once, *views(1)]):
        with pytest.raises(InputError, match=r"images of different sizes .* augment_on=device"):
            collated(items, default_collate)
    batches: list[Any] = [collated(part, default_collate)[0] for part in (views(1), [(other, 0)])]
    for parts in (batches, batches[::-1], [batches[0], torch.zeros(1)]):
        with pytest.raises(InputError, match=r"images of different sizes .* augment_on=device"):
            joined(parts)
