"""Geometry of augmented images: of one, and of a batch in which each has numbers of its own.

No image depends on the others of its batch. On a CPU the results are torchvision's, bit by bit; on
other devices a few pixels of a thousand may differ by a grey level, see :func:`resampled`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad
from torchvision.transforms.v2.functional import resize, resized_crop

from cl_prompts.datasets.views import image_of, scaled

Change = tuple[float, int, int, float]


def inverse_affine(change: Change, height: int, width: int) -> Tensor:
    """The map from a pixel of the result to the place that it is read from.

    >>> inverse_affine((0.0, 0, 0, 2.0), height=4, width=8)  # twice as large
    tensor([[0.1250, 0.0000, 0.0000],
            [0.0000, 0.2500, 0.0000]])

    Args:
        change: angle in degrees, shift to the right and down in pixels, scale; about the centre.
        height, width: of the image, in pixels.

    Returns:
        (2, 3) rows for the horizontal place, in half widths, and the vertical one, in half heights.
    """
    angle, right, down, scale = change
    # The inverse of a rotation and scaling about the centre, behind the inverse shift.
    cos = math.cos(math.radians(angle)) / scale
    sin = math.sin(math.radians(angle)) / scale
    across = [cos, sin, cos * -right + sin * -down]
    # Not -sin, which is -0.0 without a rotation.
    along = [0.0 - sin, cos, sin * right + cos * -down]
    places = torch.tensor([across, along], dtype=torch.float32)
    return places / torch.tensor([[0.5 * width], [0.5 * height]], dtype=torch.float32)


def warped(images: Tensor, rows: Tensor) -> Tensor:
    """Images under affine maps, read bilinearly, black where nothing is.

    Args:
        images: (n, 3, height, width) uint8.
        rows: (n, 2, 3), each from :func:`inverse_affine`.

    Returns:
        (n, 3, height, width) uint8.
    """
    n, _, height, width = images.shape
    # (x, y, 1) of each pixel of the result times the affine map: the place that it is read from.
    pixels = _pixels(height, width, images.device).expand(n, -1, -1)
    places = pixels.bmm(rows.transpose(1, 2)).view(n, height, width, 2)
    # A fourth channel of ones holds the share of what is read that lies inside.
    with_ones = pad(images.float(), [0, 0, 0, 0, 0, 1], value=1.0)
    # Divided by that share, an edge keeps its colour instead of fading into black.
    read = grid_sample(with_ones, places, "bilinear", "zeros", align_corners=False)
    return read[:, :-1].mul_(read[:, -1:]).round_().to(torch.uint8)


@lru_cache(maxsize=8)
def _pixels(height: int, width: int, device: torch.device) -> Tensor:
    """(1, height * width, 3) place of each pixel from the centre, across and along, and 1."""
    placed: dict[str, Any] = {"dtype": torch.float32, "device": device}
    across = torch.linspace((1.0 - width) * 0.5, (width - 1.0) * 0.5, width, **placed)
    along = torch.linspace((1.0 - height) * 0.5, (height - 1.0) * 0.5, height, **placed)
    grid = [across.expand(height, width), along[:, None].expand(height, width)]
    return torch.stack([*grid, torch.ones_like(grid[0])], dim=-1).view(1, height * width, 3)


def enlarged(images: Tensor, size: int, areas: Tensor | None = None) -> Tensor:
    """Images, or a part of each, brought to a square bilinearly.

    Args:
        images: (n, 3, height, width) uint8.
        size: side of the square, in pixels.
        areas: (n, 4) whole numbers, top, left, height and width of each part; None for whole
            images.

    Returns:
        (n, 3, size, size) uint8.
    """
    # Elsewhere a device would be waited for, to read where the parts lie.
    if images.device.type != "cpu":
        return resampled(images, size, areas)
    if areas is None:
        return resize(images, [size, size])
    parts = zip(images, areas.int().tolist(), strict=True)
    return torch.stack([resized_crop(image, *area, [size, size]) for image, area in parts])


def resampled(images: Tensor, size: int, areas: Tensor | None = None) -> Tensor:
    """:func:`enlarged` by two matrix products an image, without a wait for a device.

    As in torch's kernel for uint8 on CPUs, weights are whole numbers and grey levels are rounded
    between the two directions, so that results agree but for one grey level in two pixels of a
    thousand at most (more of them where factors are rounded to TF32).
    """
    height, width = images.shape[-2:]
    if areas is None:
        whole = torch.zeros(1, 4, dtype=torch.float32, device=images.device)
        whole[:, 2] = height
        whole[:, 3] = width
        areas = whole
    top, left, tall, wide = areas.unbind(dim=1)
    # Bilinear resampling is one product for each axis.
    across = _weighted(images.float(), _weights(left, wide, size, width), transposed=True)
    return _weighted(across, _weights(top, tall, size, height)).to(torch.uint8)


def _weights(start: Tensor, length: Tensor, size: int, pixels: int) -> tuple[Tensor, Tensor]:
    """Weights of a line's pixels for each place of a resized part of it, of (n,) first pixels and
    lengths: whole numbers (n, 1, size, pixels), and their common denominators (n, 1, 1, 1)."""
    counted: dict[str, Any] = {"dtype": torch.float32, "device": start.device}
    places = torch.arange(pixels, **counted) + 0.5
    start = start[:, None, None]
    length = length[:, None, None]
    # Pixels of the image per pixel of the result; centres are half a pixel from the edge.
    scale = length / size
    centres = start + scale * (torch.arange(size, **counted)[:, None] + 0.5)
    # A triangle as wide as two pixels, of the image or of the result, whichever are wider.
    weights = (1 - (places - centres).abs() / scale.clamp(min=1)).clamp_(min=0)
    weights = weights * ((places > start) & (places < start + length))
    weights = weights / weights.sum(dim=2, keepdim=True)
    # The greatest power of two for which whole numbers take 15 bits, and at most 2^21.
    greatest = weights.amax(dim=(1, 2), keepdim=True)
    power = ((2**15 - 0.5) / greatest).log2().ceil().sub(1).clamp(max=21).exp2()
    return (weights * power).add(0.5).floor()[:, None], power[:, None]


def _weighted(images: Tensor, by: tuple[Tensor, Tensor], *, transposed: bool = False) -> Tensor:
    """Weighted sums of grey levels, over columns or with ``transposed`` over rows, rounded."""
    weights, power = by
    sums = images @ weights.transpose(-1, -2) if transposed else weights @ images
    return (sums / power).add_(0.5).floor_().clamp_(0, 255)


def pad_crop_flip(image: Tensor, shift: tuple[int, int] | None, flip: bool, padding: int) -> Tensor:
    """An image, or several alike, padded with black, cropped, flipped or not, as floats in [0, 1].

    >>> pad_crop_flip(torch.full((3, 2, 2), 255, dtype=torch.uint8), (0, 1), True, padding=1)[0]
    tensor([[0., 0.],
            [1., 1.]])

    Args:
        image: (..., 3, size, size) uint8, or floats in [0, 1].
        shift: top and left of the crop from the padded image; None without padding.
        flip: mirror the crop.
        padding: black pixels on each side of the image.
    """
    size = image.shape[-1]
    if shift is not None:
        top, left = shift
        image = pad(image, [padding] * 4)[..., top : top + size, left : left + size]
    if flip:
        image = image.flip(-1)
    return image_of(image) if image.dtype == torch.uint8 else image.to(torch.float32, copy=True)


def pad_crop_flip_each(
    images: Tensor, shifts: Tensor | None, flips: Tensor | None, padding: int
) -> Tensor:
    """:func:`pad_crop_flip` of each image (n, 3, size, size) uint8 with a shift (n, 2) and a flip
    (n,) of its own, None without any; it waits for no device."""
    size = images.shape[-1]
    if shifts is not None:
        rows = torch.arange(len(images), device=images.device)
        top, left = shifts.long().unbind(dim=1)
        # All crops as views of the padded images, of which each image takes one.
        crops = pad(images, [padding] * 4).unfold(2, size, 1).unfold(3, size, 1)
        images = crops[rows, :, top, left]
    if flips is not None:
        images = torch.where(flips.bool()[:, None, None, None], images.flip(-1), images)
    return scaled(images)
