"""Images in files: decoded when they are asked for, and kept in memory where that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from cl_prompts.datasets.decoding import decode, size_of
from cl_prompts.errors import RunError

CACHED_SIDE = 128  # images up to this side are kept as they are


class Images(Protocol):
    """A sequence of images, each (3, height, width); uint8, or what a user's data set gives.

    >>> import torch
    >>> images: Images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    """

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Tensor: ...


class FileImages:
    """Images decoded from their files at each access; see :mod:`cl_prompts.datasets.decoding`.

    >>> len(FileImages(["a.png", "b.png"]))  # no file is opened yet
    2

    Args:
        paths: one file per image.
        cache: keep decoded images in memory (each DataLoader worker keeps its own): those of at
            most 128 x 128 pixels as they are, larger ones bicubically reduced so that their shorter
            side has this many pixels. None keeps none.

    Raises:
        RunError: at access to a file that cannot be read as an image.
    """

    def __init__(self, paths: Sequence[str], *, cache: int | None = None) -> None:
        self.paths = paths
        self._side = cache
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        if self._side is None:
            return decode(self.paths[row])
        if row not in self._kept:
            self._kept[row] = reduced(decode(self.paths[row]), self._side)
        return self._kept[row]

    def bytes_kept(self, rows: np.ndarray) -> int:
        """Bytes that the cache takes with these rows in it, estimated from at most 50 of them."""
        if self._side is None:
            return 0
        # The mean area of a sample, times three channels of a byte, times all images.
        areas = []
        for row in rows[:: max(1, len(rows) // 50)][:50]:
            try:
                areas.append(np.prod(_kept_size(self._side, *size_of(self.paths[row]))))
            except RunError:
                continue  # takes no memory; ``check_images`` names it
        return int(3 * np.mean(areas) * len(rows)) if areas else 0


def reduced(image: Tensor, side: int) -> Tensor:
    """A decoded image as a cache keeps it, see :class:`FileImages`.

    >>> import torch
    >>> reduced(torch.zeros(3, 200, 400, dtype=torch.uint8), 50).shape
    torch.Size([3, 50, 100])
    """
    kept = _kept_size(side, *image.shape[-2:])
    return resize(image, list(kept), interpolation=InterpolationMode.BICUBIC)


def _kept_size(side: int | None, height: int, width: int) -> tuple[int, int]:
    shorter, longer = sorted((height, width))
    if side is None or longer <= CACHED_SIDE or shorter <= side:
        return height, width
    # Rounded as torchvision's Resize does, so that a resize to the same side changes nothing.
    longer = int(side * longer / shorter)
    return (side, longer) if height < width else (longer, side)
