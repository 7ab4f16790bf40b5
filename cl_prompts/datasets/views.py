"""Random views of images: the keys that their random numbers are drawn by, and views whose pixels
are made after their transfer, a batch at a time.

A reader with an order of its own, as the training loop, names by :func:`viewing` the view of each
item that it wants; transforms ask :func:`current_key`. So a view depends on the seed and the key
alone, and not on the process that makes it nor on what was drawn before.

A reader that can decode views itself reads within :func:`deferring_views`. Transforms that can wait
then give a :class:`DeferredView` in the place of an image, :func:`collated` joins them, and a batch
of them becomes images when it is sent to a device, as a tensor is. Any other reader gets images at
once. Images of 8 bits are floats that remember their grey levels (:func:`image_of`): a batch of
them may be sent as bytes, and is scaled where it arrives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cl_prompts.datasets.items import CheckedItems, entries_of, writes_into
from cl_prompts.errors import InputError

Key = tuple[int, ...]
Decoder = Callable[[Tensor], Tensor]

_KEY: ContextVar[Key | None] = ContextVar("view key", default=None)
_DEFERS: ContextVar[bool] = ContextVar("views are decoded by their reader", default=False)


@contextmanager
def viewing(*key: int) -> Iterator[None]:
    """Items that are read in this context are views under ``key``.

    >>> with viewing(100, 1):
    ...     current_key()
    (100, 1)
    """
    token = _KEY.set(key)
    try:
        yield
    finally:
        _KEY.reset(token)


def current_key() -> Key | None:
    """The key of the surrounding :func:`viewing`; None outside of any."""
    return _KEY.get()


class HeldOutItems(CheckedItems):
    """Items for evaluation, each in one view, that under its row: random test images are the same
    at each read, in any process.

    >>> HeldOutItems(["image 0", "image 1"], [2, 3])[1]
    ('image 1', 3)
    """

    def __getitem__(self, index: int) -> Any:
        with viewing(index):
            return super().__getitem__(index)


def view_seed(seed: int, key: Key) -> int:
    """Seed of a view's random numbers, from 0 to 2^63 - 1.

    A hash, since seeds that differ by little, and keys of different lengths, must not give the same
    numbers.
    """
    words = " ".join(str(int(part)) for part in (seed, *key))
    digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
    # 63 bits, which a signed number holds.
    return int.from_bytes(digest, "little") >> 1


@contextmanager
def deferring_views() -> Iterator[None]:
    """Items that are read in this context may hold a :class:`DeferredView` for an image.

    >>> with deferring_views():
    ...     defers_views()
    True
    """
    token = _DEFERS.set(True)
    try:
        yield
    finally:
        _DEFERS.reset(token)


def defers_views() -> bool:
    """Whether the surrounding reader decodes views itself."""
    return _DEFERS.get()


class DeferredView(NamedTuple):
    """The bytes of one view, and their decoder.

    >>> DeferredView(torch.zeros(3, dtype=torch.uint8), decode=torch.neg).packed.shape
    torch.Size([3])

    Attributes:
        packed: (bytes,) uint8, or of any other shape.
        decode: makes images (n, 3, size, size) of many of them, (n, bytes).
    """

    packed: Tensor
    decode: Decoder


class DeferredViews:
    """A batch of views, which are decoded where they are sent to.

    >>> views = DeferredViews(torch.tensor([[1], [2]]), decode=lambda packed: packed / 2)
    >>> views[:1].to("cpu")
    tensor([[0.5000]])

    Args:
        packed: (n, bytes) uint8, or (n, ...) of any other shape.
        decode: see :class:`DeferredView`.
    """

    def __init__(self, packed: Tensor, decode: Decoder) -> None:
        self.packed = packed
        self.decode = decode

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, rows: slice) -> DeferredViews:
        return DeferredViews(self.packed[rows], self.decode)

    def to(self, device: Any, *, non_blocking: bool = False) -> Tensor:
        """The images, on a device; their bytes are sent, and all else is done there."""
        return self.decode(self.packed.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> DeferredViews:
        """The same in pinned memory, from which a GPU copies while it computes."""
        return DeferredViews(self.packed.pin_memory(), self.decode)


def scaled(levels: Tensor) -> Tensor:
    """Grey levels 0 to 255, uint8, as float32 in [0, 1]: one product, rounded as torchvision's is
    and alike on every device.

    >>> scaled(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return levels.float().mul_(1 / 255)


def image_of(levels: Tensor) -> Tensor:
    """An image of grey levels, :func:`scaled`, which remembers them as its attribute ``levels``.

    What is computed from it remembers none; where it is changed in place, :func:`collated` finds
    that it is no longer the image of its levels.
    """
    image: Any = scaled(levels)
    image.levels = levels
    image.made = writes_into(image)
    return image


def _levels_of(image: Any) -> Tensor | None:
    """The levels of an image that :func:`image_of` made and nobody changed; None of any other."""
    levels: Tensor | None = getattr(image, "levels", None)
    if levels is None:
        return None
    # By numpy, which compares twice as fast as torch.
    same = np.array_equal(scaled(levels).numpy(), image.detach().numpy())
    return levels if same else None


def collated(
    items: Sequence[Any],
    collate: Callable[[Any], Any],
    check: Callable[[Sequence[Any]], None] | None = None,
    *,
    as_levels: bool = False,
) -> Any:
    """A batch of items, whose images may be deferred.

    Args:
        items: each opens with its image.
        collate: joins the items of a batch, whose images are tensors.
        check: of images that are not deferred, before they are joined.
        as_levels: defer the scaling of images, where all of them have levels (:func:`image_of`).

    Raises:
        InputError: deferred images differ in size, or others are made at once; and as ``check``.
    """
    openings = [entries_of(item)[0] for item in items]
    if not any(isinstance(opening, DeferredView) for opening in openings):
        if check is not None:
            check(openings)
        levels = [_levels_of(opening) for opening in openings] if as_levels else [None]
        if any(known is None for known in levels):
            return collate(items)
        openings = [DeferredView(known, scaled) for known in levels if known is not None]
    decode = _decoder_of(openings)
    # Workers send the packed images; one call decodes and augments the batch on its device.
    pairs = zip(openings, items, strict=True)
    columns = list(collate([(opening.packed, *item[1:]) for opening, item in pairs]))
    return [DeferredViews(columns[0], decode), *columns[1:]]


def joined(parts: Sequence[Any]) -> Any:
    """Batches, of tensors or of deferred views, in one.

    Raises:
        InputError: as :func:`collated`.
    """
    if not any(isinstance(part, DeferredViews) for part in parts):
        return torch.cat(list(parts))
    if any(isinstance(part, Tensor) for part in parts):
        # Images that were sent as levels to save bytes join those that have none.
        made = [p.to("cpu") if getattr(p, "decode", None) is scaled else p for p in parts]
        if all(isinstance(part, Tensor) for part in made):
            return torch.cat(made)
    decode = _decoder_of(parts)
    return DeferredViews(torch.cat([part.packed for part in parts]), decode)


def _decoder_of(parts: Sequence[Any]) -> Decoder:
    """The decoder that all of these share."""
    decode: Decoder | None = getattr(parts[0], "decode", None)
    if decode is None or any(getattr(part, "decode", None) != decode for part in parts):
        raise InputError(
            "images of different sizes or kinds cannot be augmented together: leave out"
            " augment_on=device"
        )
    return decode


def grey_levels(images: Tensor, bounded: bool) -> Tensor:
    """Images as uint8, to be looked at.

    >>> grey_levels(torch.tensor([-0.05, 0.5, 1.05]), bounded=True).tolist()
    [0, 128, 255]
    >>> grey_levels(torch.tensor([-2.0, 0.5, 3.0]), bounded=False).tolist()
    [0, 128, 255]

    Args:
        images: any shape, floats.
        bounded: whether they are in [0, 1], beyond which enlargement may shoot a little; otherwise
            their least and greatest values, where these lie outside, become black and white.
    """
    least = 0.0 if bounded else min(0.0, float(images.min()))
    most = 1.0 if bounded else max(1.0, float(images.max()))
    parts = ((images - least) / (most - least)).clamp(0, 1)
    return (parts * 255).round().to(torch.uint8)
