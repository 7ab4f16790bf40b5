"""Images in files, decoded on access, with an optional cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from cl_prompts.datasets.decoding import decode
from cl_prompts.datasets.files import ImageFile

CACHED_SIDE = 128  # images up to this side are cached unchanged


class Images(Protocol):
    """A sequence of images (3, height, width), uint8 or as a user's data set returns them.

    >>> import torch
    >>> images: Images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    """

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Tensor: ...


@dataclass
class ImageCache:
    """Memory for decoded images; each DataLoader worker has its own copy.

    >>> ImageCache(side=224, room=10**9).room
    1000000000

    Attributes:
        side: shorter side to which images above 128 x 128 pixels are reduced, bicubically.
        room: free bytes; further images are decoded each time.
    """

    side: int
    room: int


class FileImages:
    """Images decoded from files on access; see :mod:`cl_prompts.datasets.decoding`.

    >>> len(FileImages(["a.png", "b.png"]))  # opens no file
    2

    Args:
        paths: one file, or row of a table, per image.
        cache: of decoded images, or None.

    Raises:
        RunError: on access to an unreadable image.
    """

    def __init__(self, paths: Sequence[ImageFile], *, cache: ImageCache | None = None) -> None:
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
    """Reduce a decoded image for the cache, see :class:`ImageCache`.

    >>> import torch
    >>> reduced(torch.zeros(3, 200, 400, dtype=torch.uint8), 50).shape
    torch.Size([3, 50, 100])
    """
    height, width = image.shape[-2:]
    shorter, longer = sorted((height, width))
    if longer <= CACHED_SIDE or shorter <= side:
        return image
    # Rounded as torchvision's Resize does, so that resizing to the same side has no effect.
    longer = int(side * longer / shorter)
    kept = [side, longer] if height < width else [longer, side]
    return resize(image, kept, interpolation=InterpolationMode.BICUBIC)
