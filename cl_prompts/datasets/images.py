"""Images in files: decoded when they are asked for, and kept in memory where that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from cl_prompts.datasets.decoding import decode

CACHED_SIDE = 128  # images up to this side are kept as they are


class Images(Protocol):
    """A sequence of images, each (3, height, width); uint8, or what a user's data set gives.

    >>> import torch
    >>> images: Images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    """

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Tensor: ...


@dataclass
class ImageCache:
    """Memory for decoded images, of which each DataLoader worker has its own copy.

    >>> ImageCache(side=224, room=10**9).room
    1000000000

    Attributes:
        side: images of at most 128 x 128 pixels are kept as they are, larger ones bicubically
            reduced so that their shorter side has this many pixels.
        room: bytes that are free; images beyond them are decoded each time.
    """

    side: int
    room: int


class FileImages:
    """Images decoded from their files at each access; see :mod:`cl_prompts.datasets.decoding`.

    >>> len(FileImages(["a.png", "b.png"]))  # no file is opened yet
    2

    Args:
        paths: one file per image.
        cache: of decoded images; None keeps none.

    Raises:
        RunError: at access to a file that cannot be read as an image.
    """

    def __init__(self, paths: Sequence[str], *, cache: ImageCache | None = None) -> None:
        self.paths = paths
        self._cache = cache
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        if self._cache is None:
            return decode(self.paths[row])
        if row in self._kept:
            return self._kept[row]
        image = reduced(decode(self.paths[row]), self._cache.side)
        if image.nbytes <= self._cache.room:
            self._cache.room -= image.nbytes
            self._kept[row] = image
        return image


def reduced(image: Tensor, side: int) -> Tensor:
    """A decoded image as a cache keeps it, see :class:`FileImages`.

    >>> import torch
    >>> reduced(torch.zeros(3, 200, 400, dtype=torch.uint8), 50).shape
    torch.Size([3, 50, 100])
    """
    kept = _kept_size(side, *image.shape[-2:])
    return resize(image, list(kept), interpolation=InterpolationMode.BICUBIC)


def _kept_size(side: int, height: int, width: int) -> tuple[int, int]:
    shorter, longer = sorted((height, width))
    if longer <= CACHED_SIDE or shorter <= side:
        return height, width
    # Rounded as torchvision's Resize does, so that a resize to the same side changes nothing.
    longer = int(side * longer / shorter)
    return (side, longer) if height < width else (longer, side)
