"""Views that are made after their transfer, a batch at a time: what loaders hand on in their place.

A reader that can make images itself says so by :func:`making_later`. Transforms that can wait then
give :class:`LaterView` in the place of an image, :func:`collated` joins them, and a batch of them
becomes images when it is sent to a device, as a tensor is. Any other reader gets images at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cl_prompts.errors import InputError

Maker = Callable[[Tensor], Tensor]

_LATER: ContextVar[bool] = ContextVar("views are made later", default=False)


@contextmanager
def making_later() -> Iterator[None]:
    """Items that are read in this context may hold a :class:`LaterView` for an image.

    >>> with making_later():
    ...     made_later()
    True
    """
    token = _LATER.set(True)
    try:
        yield
    finally:
        _LATER.reset(token)


def made_later() -> bool:
    """Whether the surrounding reader makes views itself."""
    return _LATER.get()


class LaterView(NamedTuple):
    """What one view is made of.

    >>> LaterView(torch.zeros(3, dtype=torch.uint8), make=torch.neg).packed.shape
    torch.Size([3])

    Attributes:
        packed: (bytes,) uint8.
        make: makes images (n, 3, size, size) of many of them, (n, bytes).
    """

    packed: Tensor
    make: Maker


class LaterViews:
    """A batch of views, which are made where they are sent to.

    >>> views = LaterViews(torch.tensor([[1], [2]]), make=lambda packed: packed / 2)
    >>> views[:1].to("cpu")
    tensor([[0.5000]])

    Args:
        packed: (n, bytes) uint8.
        make: see :class:`LaterView`.
    """

    def __init__(self, packed: Tensor, make: Maker) -> None:
        self.packed = packed
        self.make = make

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, rows: slice) -> LaterViews:
        return LaterViews(self.packed[rows], self.make)

    def to(self, device: Any, *, non_blocking: bool = False) -> Tensor:
        """The images, on a device; their bytes are sent, and all else is done there."""
        return self.make(self.packed.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> LaterViews:
        """The same in pinned memory, from which a GPU copies while it computes."""
        return LaterViews(self.packed.pin_memory(), self.make)


def collated(items: Sequence[Any], collate: Callable[[Any], Any]) -> Any:
    """A batch of items, whose images may be made later.

    Args:
        items: each opens with its image.
        collate: joins the items of a batch, whose images are tensors.

    Raises:
        InputError: images that are made later differ in size, or others are made at once.
    """
    openings = [item[0] if isinstance(item, list | tuple) else item for item in items]
    if not any(isinstance(opening, LaterView) for opening in openings):
        return collate(items)
    make = _maker_of(openings)
    columns = list(collate([(item[0].packed, *item[1:]) for item in items]))
    return [LaterViews(columns[0], make), *columns[1:]]


def joined(parts: Sequence[Any]) -> Any:
    """Batches, of tensors or of views that are made later, in one.

    Raises:
        InputError: as :func:`collated`.
    """
    if not any(isinstance(part, LaterViews) for part in parts):
        return torch.cat(list(parts))
    make = _maker_of(parts)
    return LaterViews(torch.cat([part.packed for part in parts]), make)


def _maker_of(parts: Sequence[Any]) -> Maker:
    """What makes images of all of these."""
    make: Maker | None = getattr(parts[0], "make", None)
    if make is None or any(getattr(part, "make", None) != make for part in parts):
        raise InputError(
            "images of different sizes or kinds cannot be augmented together: leave out"
            " augment_on=device"
        )
    return make
