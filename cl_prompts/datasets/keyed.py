"""Random views by key: the parameters of a view are drawn apart from their application.

A :class:`View` holds the random parameters of one augmented image. It depends on the seed, the row
and a key alone (the stream position and update, or the epoch), never on what was drawn before nor
on the process that draws it, so any number of DataLoader workers gives the same images, and a
resumed run needs no state. Views may be drawn here and applied elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from cl_prompts.datasets.geometry import inverse_affine, pad_crop_flip, warped
from cl_prompts.datasets.transforms import AREA, ASPECT, Augmentation, RandomTransform
from cl_prompts.datasets.views import Key, view_seed

# In torch's single precision, from which torchvision draws.
_LOG_ASPECT = [float(torch.tensor(ratio, dtype=torch.float32).log()) for ratio in ASPECT]


@dataclass(frozen=True)
class View:
    """Random parameters of one view, in pixels of the image that each of them is applied to.

    >>> View(shift=(0, 8), flip=True)
    View(square=None, changes=(), affine=None, area=None, shift=(0, 8), flip=True)

    Args:
        square: top and left of the square cut from the enlarged image.
        changes: operations of AutoAugment's sub-policy that take place, with their magnitudes.
        affine: angle in degrees, shift to the right and down, scale.
        area: top, left, height and width of the part that is enlarged to the final size.
        shift: top and left of the crop from the padded image.
        flip: whether it is mirrored.
    """

    square: tuple[int, int] | None = None
    changes: tuple[tuple[str, float], ...] = ()
    affine: tuple[float, int, int, float] | None = None
    area: tuple[int, int, int, int] | None = None
    shift: tuple[int, int] | None = None
    flip: bool = False


class KeyedTransform(RandomTransform):
    """An augmentation whose views are chosen by key.

    With the same random numbers it gives the images of ``augmentation.train(size)``, bit by bit.

    >>> transform = KeyedTransform(Augmentation(), 32, seed=0)
    >>> photo = torch.rand(3, 32, 32).mul(255).to(torch.uint8)
    >>> first, again = transform(photo, (7, 0)), transform(photo, (7, 0))
    >>> torch.equal(first, again)
    True

    Args:
        augmentation: what is drawn and how it is applied.
        size: side of the images delivered, in pixels.
        seed: any integer >= 0.
    """

    def __init__(self, augmentation: Augmentation, size: int, *, seed: int) -> None:
        super().__init__(seed)
        self.augmentation = augmentation
        self.size = size
        policy = augmentation.policy
        self._policy = None if policy is None else _Policy(policy)

    def __call__(self, image: Tensor, key: Key | None = None) -> Tensor:
        """The view of a uint8 image (3, height, width) under a key, float32 in [0, 1]; without a
        key under that of :meth:`next_key`."""
        height, width = image.shape[-2:]
        return self.apply(image, self.draw(self.next_key() if key is None else key, height, width))

    def draw(self, key: Key, height: int, width: int) -> View:
        """Parameters of the view of an image of this size under ``key``."""
        generator = torch.Generator().manual_seed(view_seed(self.seed, key))
        return self.draw_from(generator, height, width)

    def draw_from(self, generator: torch.Generator, height: int, width: int) -> View:
        """Parameters from a generator's next numbers, in the order in which torchvision draws."""
        augmentation = self.augmentation
        square = affine = area = shift = None
        changes: tuple[tuple[str, float], ...] = ()
        if augmentation.square_crop:
            height, width = _resized(height, width, augmentation.shorter_side(self.size))
            square = _offset(height, width, self.size, generator)
            height = width = self.size
        if self._policy is not None:
            changes = self._policy.draw(height, width, generator)
        if augmentation.affine:
            affine = _affine(augmentation, height, width, generator)
        if augmentation.random_area:
            area = _area(height, width, generator)
        if augmentation.padding:
            padded = self.size + 2 * augmentation.padding
            shift = _offset(padded, padded, self.size, generator)
        # Last, and drawn only where images are flipped, as torchvision does.
        flip = augmentation.flip and _uniform(0.0, 1.0, generator) < 0.5
        return View(square, changes, affine, area, shift, flip)

    def apply(self, image: Tensor, view: View) -> Tensor:
        """The view of images (..., 3, height, width) uint8 with parameters drawn for their size, as
        (..., 3, size, size) float32 in [0, 1]."""
        image = self.prepared(image, view)
        if view.affine is not None:
            several = image.reshape(-1, *image.shape[-3:])
            rows = inverse_affine(view.affine, *image.shape[-2:])
            image = warped(several, rows.expand(len(several), 2, 3)).reshape(image.shape)
        if view.area is not None:
            image = F.resized_crop(image, *view.area, [self.size, self.size])
        else:
            image = F.resize(image, [self.size, self.size])
        return pad_crop_flip(image, view.shift, view.flip, self.augmentation.padding)

    def prepared(self, image: Tensor, view: View) -> Tensor:
        """An image (..., 3, height, width) uint8 after all that comes before its geometry: the cut
        of a square, and AutoAugment's policy."""
        if view.square is not None:
            image = F.resize(image, [self.augmentation.shorter_side(self.size)])
            image = F.crop(image, *view.square, self.size, self.size)
        if self._policy is not None:
            image = self._policy.change(image, view.changes)
        return image


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    # In fp32 whatever the default: numbers of other types are drawn otherwise.
    drawn = torch.empty(1, dtype=torch.float32)
    return drawn.uniform_(low, high, generator=generator).item()


def _offset(height: int, width: int, size: int, generator: torch.Generator) -> tuple[int, int]:
    """Top and left of a random square; nothing is drawn where there is no choice."""
    free = (height - size, width - size)
    top, left = (
        int(torch.randint(0, room + 1, (), generator=generator)) if room else 0 for room in free
    )
    return top, left


def _resized(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Size after torchvision's resize of the shorter side, which rounds the longer one down."""
    if height <= width:
        return shorter, int(shorter * width / height)
    return int(shorter * height / width), shorter


def _affine(
    augmentation: Augmentation, height: int, width: int, generator: torch.Generator
) -> tuple[float, int, int, float]:
    degrees, shifts, scales = augmentation.affine_range
    # Shifts are whole pixels, drawn as shares of the width and the height.
    angle = _uniform(-degrees, degrees, generator)
    right = round(_uniform(-shifts[0] * width, shifts[0] * width, generator))
    down = round(_uniform(-shifts[1] * height, shifts[1] * height, generator))
    return angle, right, down, _uniform(*scales, generator)


def _area(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a part of random area and aspect ratio (Inception's crop)."""
    # Ten tries, as in torchvision: a uniform share of the area, and a log-uniform aspect ratio.
    for _ in range(10):
        area = height * width * _uniform(*AREA, generator)
        log = _uniform(_LOG_ASPECT[0], _LOG_ASPECT[1], generator)
        ratio = float(torch.tensor(log, dtype=torch.float32).exp())
        # w h = area and w / h = ratio
        w = round(math.sqrt(area * ratio))
        h = round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,), generator=generator))
            left = int(torch.randint(0, width - w + 1, (1,), generator=generator))
            return top, left, h, w
    # No luck: the central part of the nearest allowed aspect ratio.
    ratio = min(max(width / height, ASPECT[0]), ASPECT[1])
    w = min(width, round(height * ratio))
    h = min(height, round(width / ratio))
    return (height - h) // 2, (width - w) // 2, h, w


class _Policy(v2.AutoAugment):
    """AutoAugment in two steps: what is drawn, and what is done to the image."""

    def draw(
        self, height: int, width: int, generator: torch.Generator
    ) -> tuple[tuple[str, float], ...]:
        """Operations of a random sub-policy that take place, with their magnitudes."""
        policy = self._policies[int(torch.randint(len(self._policies), (), generator=generator))]
        changes = []
        for name, probability, level in policy:
            # Each of the two operations takes place with its own probability, and a magnitude that
            # has a sign gets either one.
            if not torch.rand((), dtype=torch.float32, generator=generator) <= probability:
                continue
            table, signed = self._magnitudes(name, height, width)
            magnitude = 0.0 if table is None else table[level]
            if table is not None and signed and _uniform(0.0, 1.0, generator) <= 0.5:
                magnitude = -magnitude
            changes.append((name, magnitude))
        return tuple(changes)

    @classmethod
    @lru_cache(maxsize=1024)
    def _magnitudes(cls, name: str, height: int, width: int) -> tuple[list[float] | None, bool]:
        """Magnitudes of an operation by level, and whether their sign is drawn."""
        magnitudes, signed = cls._AUGMENTATION_SPACE[name]
        # AutoAugment has ten levels of each operation.
        table = magnitudes(10, height, width)
        return None if table is None else table.tolist(), signed

    def change(self, image: Tensor, changes: tuple[tuple[str, float], ...]) -> Tensor:
        """The image after these operations."""
        for name, magnitude in changes:
            # torchvision has no public name for it.
            image = self._apply_image_or_video_transform(
                image, name, magnitude, interpolation=self.interpolation, fill=self._fill
            )
        return image
