"""Geometry in batches: torchvision's, exactly on a CPU, and closely by what runs elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from cl_prompts.datasets.geometry import (
    enlarged,
    inverse_affine,
    pad_crop_flip,
    pad_crop_flip_each,
    resampled,
    warped,
)
from tests.datasets.toys import ROUNDING

N = 24


def pictures(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (N, 3, height, width), generator=generator, dtype=torch.uint8)


def whole_numbers(low: int, high: int, *shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high + 1, shape, generator=generator)


def parts(height: int, width: int) -> Tensor:
    """(n, 4) top, left, height and width of parts of images."""
    tall, wide = (whole_numbers(4, side, N, seed=side) for side in (height, width + 1))
    wide = wide.clamp(max=width)
    share = torch.rand(2, N, generator=torch.Generator().manual_seed(1))
    top, left = (share * torch.stack([height - tall + 1, width - wide + 1])).floor()
    return torch.stack([top, left, tall, wide], dim=1)


@pytest.mark.parametrize("shape", [(32, 32), (9, 40), (41, 8)])
def test_affine_changes_of_a_batch_are_torchvisions(shape: tuple[int, int]) -> None:
    images = pictures(*shape)
    generator = torch.Generator().manual_seed(2)
    drawn = torch.rand(N, 4, generator=generator).sub(0.5).tolist()
    changes = [(40 * a, round(8 * r), round(8 * d), 1 + 0.4 * s) for a, r, d, s in drawn]
    rows = torch.stack([inverse_affine(change, *shape) for change in changes])
    expected = [
        F.affine(image, a, [r, d], s, [0.0, 0.0], InterpolationMode.BILINEAR, fill=0)
        for image, (a, r, d, s) in zip(images, changes, strict=True)
    ]
    assert torch.equal(warped(images, rows), torch.stack(expected))


@pytest.mark.parametrize("size", [24, 98])
@pytest.mark.parametrize("shape", [(32, 32), (40, 61), (8, 100)])
def test_enlarged_parts_are_torchvisions_and_resampled_ones_nearly(
    shape: tuple[int, int], size: int
) -> None:
    images = pictures(*shape)
    areas = parts(*shape)
    expected = [
        F.resized_crop(image, *area, [size, size])
        for image, area in zip(images, areas.int().tolist(), strict=True)
    ]
    exact = enlarged(images, size, areas)
    assert torch.equal(exact, torch.stack(expected))
    whole = enlarged(images, size)
    assert torch.equal(whole, torch.stack([F.resize(image, [size, size]) for image in images]))
    for made, other in ((resampled(images, size, areas), exact), (resampled(images, size), whole)):
        apart = (made.int() - other.int()).abs()
        assert apart.max() <= 1  # grey level
        assert apart.float().mean() < ROUNDING


def test_resampled_images_do_not_depend_on_their_batch() -> None:
    images = pictures(32, 32)
    areas = parts(32, 32)
    together = resampled(images, 40, areas)
    for k in range(0, N, 5):
        assert torch.equal(resampled(images[k : k + 1], 40, areas[k : k + 1])[0], together[k])


@pytest.mark.parametrize("padding", [0, 3, 20])
def test_crops_and_flips_are_torchvisions(padding: int) -> None:
    images = pictures(16, 16)
    shifts = whole_numbers(0, 2 * padding, N, 2, seed=3) if padding else None
    flips = whole_numbers(0, 1, N, seed=4)
    unflipped = []
    for k, image in enumerate(images):
        view = F.pad(image, [padding])
        view = view if shifts is None else F.crop(view, *shifts[k].tolist(), 16, 16)
        unflipped.append(F.to_dtype(view, torch.float32, scale=True))
    pairs = zip(unflipped, flips, strict=True)
    expected = [view.flip(-1) if flip else view for view, flip in pairs]
    for k, image in enumerate(images):
        shift = None if shifts is None else tuple(shifts[k].tolist())
        assert torch.equal(pad_crop_flip(image, shift, bool(flips[k]), padding), expected[k])
    each = pad_crop_flip_each(images, shifts, flips.float(), padding)
    assert torch.equal(each, torch.stack(expected))
    each = pad_crop_flip_each(images, shifts, None, padding)
    assert torch.equal(each, torch.stack(unflipped))


def test_floats_are_copied() -> None:
    image = pictures(6, 6)[0].float()
    made = pad_crop_flip(image, None, False, 0)
    assert torch.equal(made, image)
    assert made.data_ptr() != image.data_ptr()
