"""Checks of a batch: images in [0, 1] of the backbone's size, and usable targets.

:func:`image_check` is for every batch, training and test: loaders make it where they join images,
in processes of their own if they have some. :func:`check_batch` looks at the first batch as it lies
on the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_prompts.errors import InputError, all_of

#: How far pixels may lie outside of [0, 1]: bicubic resizing overshoots at edges.
OVERSHOOT = 0.1
#: How far from 0 normalised pixels may lie: no standard deviation in use is as small as 1/20.
FARTHEST = 20.0

#: looks at the images of a batch, one by one
Check = Callable[[Sequence[Any]], None]


def check_pixels(images: Any, size: int, *, normalised: bool = False) -> None:
    """Refuse a batch of images that a backbone would take, and misunderstand.

    Reads the smallest and the greatest pixel, which makes a GPU wait: meant for the first batch.

    >>> check_pixels(torch.rand(2, 3, 32, 32), 32)
    >>> check_pixels(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 32)
    Traceback (most recent call last):
    cl_prompts.errors.InputError: images are uint8: give floats in [0, 1], as images.float() / 255

    Args:
        images: (batch, 3, size, size), RGB, floating-point, in [0, 1]; normalisation is the
            backbone's.
        size: side of the backbone's images, in pixels.
        normalised: the backbone leaves normalisation to the caller (``normalisation="none"``), so
            that pixels may lie between -20 and 20.

    Raises:
        InputError: no tensor, another type, shape or size, NaN, or pixels beyond [0, 1]
            (in 0..255, or normalised already).
    """
    if not isinstance(images, Tensor):
        raise InputError(
            f"images are a {type(images).__name__}: give a tensor (batch, 3, {size}, {size})"
        )
    if images.is_meta or images.layout != torch.strided:
        kind = "without values" if images.is_meta else str(images.layout).removeprefix("torch.")
        raise InputError(f"images are {kind}: give tensors that hold each pixel")
    if not _is_float(images):
        kind = str(images.dtype).removeprefix("torch.")
        raise InputError(f"images are {kind}: give floats in [0, 1], as images.float() / 255")
    if images.shape[1:] != (3, size, size):
        raise _wrong_shape(images, size)
    if not images.numel():
        return
    low, high = (value.item() for value in torch.aminmax(images.detach()))
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise InputError("images hold NaN or infinite pixels: look at the data set's transforms")
    if normalised and max(-low, high) <= FARTHEST:
        return
    if low < -OVERSHOOT:
        raise InputError(
            f"pixels reach from {low:.3g} to {high:.3g}: give images in [0, 1] and leave out the"
            ' normalisation, which the backbone does unless created with normalisation="none"'
        )
    if high > 1 + OVERSHOOT:
        raise InputError(
            f"pixels reach from {low:.3g} to {high:.3g}: give images in [0, 1], for instance"
            " divided by 255"
        )


def image_check(model: Any) -> Check:
    """A check of the images that a loader is about to join for a model; see :func:`check_images`.

    >>> from types import SimpleNamespace
    >>> backbone = SimpleNamespace(image_size=32, normalises=True)
    >>> check = image_check(SimpleNamespace(backbone=backbone))
    >>> check([torch.rand(3, 32, 32), torch.rand(3, 8, 8)])
    Traceback (most recent call last):
    cl_prompts.errors.InputError: images are 8 x 8 pixels: the backbone takes 32 x 32, so resize \
them, or create the backbone with image_size=8
    """
    backbone = model.backbone
    return partial(check_images, size=backbone.image_size, normalised=not backbone.normalises)


def check_images(images: Sequence[Any], size: int, *, normalised: bool = False) -> None:
    """Refuse images as :func:`check_pixels` does, one by one, so that they may differ in size.

    NaN is left to those who know the positions of the samples: a loss, or scores, become NaN.

    Args:
        images: each (3, size, size), tensors or arrays, of one type.
        size, normalised: see :func:`check_pixels`.

    Raises:
        InputError: as :func:`check_pixels`, or images of several types, which loader processes
            would join otherwise.
    """
    for image in images:
        values = _as_tensor(image) if isinstance(image, np.ndarray) else image
        if isinstance(values, Tensor):
            values = values[None]
            # Each pixel is looked at where their sum may have overflown.
            finite = not _has_pixels(values) or math.isfinite(values.sum().item())
            if not finite and not bool(torch.isfinite(values).all()):
                continue
        check_pixels(values, size, normalised=normalised)
    kinds = {f"{'array' * isinstance(image, np.ndarray)} {image.dtype}".strip() for image in images}
    if len(kinds) > 1:
        raise InputError(f"images of a batch are {all_of(sorted(kinds))}: give all of one type")


def _as_tensor(image: np.ndarray) -> Tensor:
    try:
        return torch.as_tensor(image)
    except (TypeError, ValueError) as error:  # negative strides, or types that torch does not have
        raise InputError(
            f"images are arrays that torch cannot take ({error}): give tensors, as"
            " torch.from_numpy(image.copy()) makes them"
        ) from error


def _has_pixels(images: Tensor) -> bool:
    return _is_float(images) and images.layout == torch.strided and not images.is_meta


def _is_float(images: Tensor) -> bool:
    """Whether images have a floating type that torch computes with, which those of 8 bits are
    not."""
    return images.is_floating_point() and images.element_size() > 1


def _wrong_shape(images: Tensor, size: int) -> InputError:
    shape = tuple(images.shape)
    wanted = f"(batch, 3, {size}, {size})"
    if len(shape) != 4:
        return InputError(f"images have shape {shape}: give {wanted}")
    if shape[1] != 3:
        hint = "give RGB"
        if shape[1] == 1:
            hint = "repeat the channel, as images.expand(-1, 3, -1, -1) does"
        elif shape[3] == 3:
            hint = "put channels first, as images.permute(0, 3, 1, 2) does"
        return InputError(f"images have shape {shape} instead of {wanted}: {hint}")
    return InputError(
        f"images are {shape[2]} x {shape[3]} pixels: the backbone takes {size} x {size}, so"
        f" resize them, or create the backbone with image_size={shape[2]}"
    )


def check_targets(targets: Any, n_classes: int, *, multi_label: bool = False) -> Tensor:
    """The targets of a batch in the type that losses take.

    Reads the smallest and the greatest target, which makes a GPU wait: meant for the first batch.

    >>> check_targets(torch.tensor([0, 2], dtype=torch.uint8), 3)
    tensor([0, 2])

    Args:
        targets: (batch,) of any integer type, or with ``multi_label`` zeros and ones (batch,
            n_classes) of any numeric type or bool.
        n_classes: number of classes.
        multi_label: an image may have several labels.

    Returns:
        (batch,) int64, or (batch, n_classes) of the given floating-point type or float32.

    Raises:
        InputError: no tensor (such as names of classes), another type or shape, or a label that is
            out of range.
    """
    wanted = (
        f"zeros and ones (batch, {n_classes})" if multi_label else f"integers 0 to {n_classes - 1}"
    )
    if not isinstance(targets, Tensor):
        first = targets[0] if isinstance(targets, list | tuple) and targets else targets
        raise InputError(f"targets are {type(first).__name__}s such as {first!r}: give {wanted}")
    kind = str(targets.dtype).removeprefix("torch.")
    fractional = targets.is_floating_point() or targets.is_complex()
    if multi_label:
        if targets.dim() != 2 or targets.shape[1] != n_classes or targets.is_complex():
            raise InputError(f"targets are {kind} of shape {tuple(targets.shape)}: give {wanted}")
    elif targets.dim() != 1 or targets.dtype == torch.bool or fractional:
        raise InputError(f"targets are {kind} of shape {tuple(targets.shape)}: give {wanted}")
    if targets.numel():
        # uint16 and its like cannot be compared; every label that counts fits into int64.
        values = targets if fractional else targets.long()
        low, high = (value.item() for value in torch.aminmax(values))
        greatest = 1 if multi_label else n_classes - 1
        if not 0 <= low <= high <= greatest:
            wrong = high if low >= 0 else low
            raise InputError(f"target {wrong} was met: give {wanted}")
    if not multi_label:
        return targets.long()
    return targets if targets.is_floating_point() else targets.float()


def check_batch(model: Any, images: Any, targets: Any, beyond: int = 0) -> None:
    """Check the first batch of an experience: RGB pixels in [0, 1], of the right shape, and targets
    of a type that losses take.

    Args:
        model: that learns.
        images: (batch, 3, size, size).
        targets: (batch,) int64, or zeros and ones (batch, classes).
        beyond: classes behind those of the model that may occur.

    Raises:
        InputError: what is wrong, and what would be right.
    """
    backbone = model.backbone
    check_pixels(images, backbone.image_size, normalised=not backbone.normalises)
    check_targets(targets, model.n_classes + beyond, multi_label=model.multi_label)
    check_kind(model, targets)


def check_kind(model: Any, targets: Tensor) -> None:
    """Refuse targets of a type or number of axes that losses do not take, without a look at their
    values.

    Raises:
        InputError: integers of another type than int64, zeros and ones that are no floats, or
            others than one label, or one row, an image.
    """
    kind = str(targets.dtype).removeprefix("torch.")
    usable = targets.is_floating_point() if model.multi_label else targets.dtype == torch.int64
    if not usable:
        wanted = "float32" if model.multi_label else "int64"
        raise InputError(f"targets are {kind}: give {wanted}, as targets.to() makes them")
    if targets.dim() != 1 + model.multi_label:
        wanted = f"zeros and ones (batch, {model.n_classes})" if model.multi_label else "(batch,)"
        raise InputError(f"targets have shape {tuple(targets.shape)}: give {wanted}")
