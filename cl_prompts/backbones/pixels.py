"""The check of a batch: images in [0, 1] of the backbone's size, and labels of the right kind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cl_prompts.errors import InputError, first_of

#: How far pixels may lie outside of [0, 1]: bicubic resizing overshoots at edges.
OVERSHOOT = 0.1
#: How far from 0 normalised pixels may lie: no standard deviation in use is as small as 1/20.
FARTHEST = 20.0
_LISTED = 8  # positions that one sentence may hold


def check_batch(model: Any, images: Any, labels: Any, first: int = 0) -> None:
    """Check the first batch of an experience, which makes a GPU wait.

    Args:
        model: that learns.
        images: see :func:`check_pixels`.
        labels: see :func:`check_targets`.
        first: position of the batch's first sample, for the sentence.

    Raises:
        InputError: what is wrong, and where.
    """
    backbone = model.backbone
    normalised = not backbone.normalises
    check_pixels(images, backbone.image_size, normalised=normalised, first=first)
    check_targets(labels, model.n_classes, multi_label=model.multi_label, first=first)


def check_pixels(images: Any, size: int, *, normalised: bool = False, first: int = 0) -> None:
    """Refuse images that a backbone would misunderstand.

    >>> check_pixels(torch.rand(2, 3, 32, 32), 32)
    >>> check_pixels(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 32)
    Traceback (most recent call last):
    cl_prompts.errors.InputError: images are torch.uint8: give a tensor of floats in [0, 1]

    Args:
        images: (batch, 3, size, size), RGB, floating-point, in [0, 1].
        size: side of the backbone's images, in pixels.
        normalised: the backbone leaves normalisation to the caller (``normalisation="none"``).
        first: position of the first image, for the sentence.

    Raises:
        InputError: another type or shape, NaN, or pixels out of range.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images are {kind}: give a tensor of floats in [0, 1]")
    if images.shape[1:] != (3, size, size):
        raise InputError(
            f"images have shape {tuple(images.shape)}: the backbone takes RGB images (batch, 3,"
            f" {size}, {size}), so resize them or create the backbone with another image_size"
        )
    least, most = (-FARTHEST, FARTHEST) if normalised else (-OVERSHOOT, 1 + OVERSHOOT)
    # Written so that NaN, which lies nowhere, is caught, too.
    wrong = ~((images >= least) & (images <= most)).flatten(1).all(dim=1)
    if bool(wrong.any()):
        low, high = (value.item() for value in images[wrong].aminmax())
        raise InputError(
            f"pixels of the images at positions {positions(wrong, first)} reach from {low:.3g} to"
            f" {high:.3g}: give images in [0, 1], divided by 255 and not normalised, which the"
            ' backbone does unless created with normalisation="none"'
        )


def check_targets(labels: Any, n_classes: int, *, multi_label: bool, first: int = 0) -> None:
    """Refuse labels that a loss would not take, or misunderstand.

    >>> check_targets(torch.tensor([0, 2]), 3, multi_label=False)

    Args:
        labels: (batch,) int64, or with ``multi_label`` zeros and ones (batch, n_classes) as floats.
        n_classes: number of classes.
        multi_label: an image may have several labels.
        first: position of the first label, for the sentence.

    Raises:
        InputError: another type or shape, or a label out of range.
    """
    wanted = f"int64 class ids 0 to {n_classes - 1}"
    if multi_label:
        wanted = f"zeros and ones (batch, {n_classes}) as floats"
    if not isinstance(labels, Tensor):
        raise InputError(f"labels are of type {type(labels).__name__}: give {wanted}")
    if multi_label:
        fit = labels.is_floating_point() and labels.shape[1:] == (n_classes,)
    else:
        fit = labels.dtype == torch.int64 and labels.dim() == 1
    if not fit:
        shape = tuple(labels.shape)
        raise InputError(f"labels are {labels.dtype} of shape {shape}: give {wanted}")
    greatest = 1 if multi_label else n_classes - 1
    good = (labels >= 0) & (labels <= greatest)
    wrong = ~(good.all(dim=1) if multi_label else good)
    if bool(wrong.any()):
        value = labels[~good][0].item()
        raise InputError(f"label {value:g} at positions {positions(wrong, first)}: give {wanted}")


def positions(rows: Tensor, first: int) -> str:
    """The rows of a batch (batch,) boolean as positions, in words.

    >>> positions(torch.tensor([True, False, True]), 32)
    '32, 34'
    """
    return first_of((first + row for row in rows.nonzero()[:, 0].tolist()), _LISTED)
