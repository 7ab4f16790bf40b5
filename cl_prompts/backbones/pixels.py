"""Checks of a batch: images, labels, and the cause of a loss that is not finite."""

from __future__ import annotations

import torch
from torch import Tensor

from cl_prompts.backbones.architecture import Stored
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError, RunError, first_of

#: Tolerance of pixels outside [0, 1], since bicubic resizing overshoots at edges.
OVERSHOOT = 0.1
#: Largest normalised pixel, since standard deviations in use are above 1/20.
FARTHEST = 20.0
_LISTED = 8  # positions listed in a message


def check_input(backbone: FrozenViT, images: object, first: int = 0) -> None:
    """Check images, or stored features, for a backbone.

    Raises:
        InputError: see :func:`check_pixels` and :func:`check_features`.
    """
    if isinstance(backbone.features, Stored):
        check_features(images, backbone.features.size, first=first)
    else:
        normalised = not backbone.normalises
        check_pixels(images, backbone.image_size, normalised=normalised, first=first)


def check_pixels(images: object, size: int, *, normalised: bool = False, first: int = 0) -> None:
    """Check images for a backbone.

    >>> check_pixels(torch.rand(2, 3, 32, 32), 32)
    >>> check_pixels(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 32)
    Traceback (most recent call last):
    cl_prompts.errors.InputError: images are torch.uint8: give a tensor of floats in [0, 1]

    Args:
        images: (batch, 3, size, size), RGB, floating-point, in [0, 1].
        size: side of the backbone's images, in pixels.
        normalised: the caller normalises images (``normalisation="none"``).
        first: position of the first image, for the message.

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
    # Negated, so that NaN is caught.
    wrong = ~((images >= least) & (images <= most)).flatten(1).all(dim=1)
    if bool(wrong.any()):
        low, high = (value.item() for value in images[wrong].aminmax())
        raise InputError(
            f"pixels of the images at positions {positions(wrong, first)} reach from {low:.3g} to"
            f" {high:.3g}: give images in [0, 1], divided by 255 and not normalised, which the"
            ' backbone does unless created with normalisation="none"'
        )


def check_features(features: object, width: int, *, first: int = 0) -> None:
    """Refuse stored features of another width, or that are not finite.

    >>> check_features(torch.zeros(2, 4), 4)

    Args:
        features: (batch, width), floating-point.
        width: of the features that the model was built for.
        first: position of the first row, for the sentence.

    Raises:
        InputError: another type or shape, or NaN or infinity.
    """
    if not isinstance(features, Tensor) or features.shape[1:] != (width,):
        shape = tuple(getattr(features, "shape", ()))
        raise InputError(f"stored features have shape {shape}: give (batch, {width})")
    wrong = ~features.isfinite().all(dim=1)
    if bool(wrong.any()):
        raise InputError(
            f"stored features at positions {positions(wrong, first)} are not finite: store them"
            " again"
        )


def check_targets(labels: object, n_classes: int, *, multi_label: bool, first: int = 0) -> None:
    """Check labels for a loss.

    >>> check_targets(torch.tensor([0, 2]), 3, multi_label=False)

    Args:
        labels: (batch,) int64, or with ``multi_label`` zeros and ones (batch, n_classes) as floats.
        n_classes: number of classes.
        multi_label: an image may have several labels.
        first: position of the first label, for the message.

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


def fault_of(
    loss: float, images: Tensor, logits: Tensor | None, seen: Tensor, first: int
) -> RunError:
    """Return the error for a loss that is not finite, with the first cause found.

    Args:
        loss: NaN or infinite.
        images: (batch, 3, size, size), stream samples first.
        logits: (batch, classes) that the loss was computed from, if known.
        seen: (classes,) boolean, classes seen so far.
        first: stream position of the first sample.
    """
    start = f"the loss became {loss} at stream position {first}"
    broken = _not_finite(images)
    if bool(broken.any()):
        return RunError(
            f"{start}: images {positions(broken, first)} contain NaN or infinity. Check these files"
            " and the data set's transforms."
        )
    broken = broken if logits is None else _not_finite(logits[:, seen])
    if bool(broken.any()):
        return RunError(
            f"{start}: the logits of images {positions(broken, first)} are not finite. Try a"
            " smaller learning rate."
        )
    return RunError(
        f"{start}. Try a smaller learning rate. A loss of your own must leave out unseen classes,"
        " whose logits are -inf (output.logits[:, model.seen])."
    )


def _not_finite(values: Tensor) -> Tensor:
    """Return the mask (batch,) of rows with NaN or infinity."""
    return ~values.detach().isfinite().flatten(1).all(dim=1)


def positions(rows: Tensor, first: int) -> str:
    """List the true rows of a boolean (batch,) as positions.

    >>> positions(torch.tensor([True, False, True]), 32)
    '32, 34'
    """
    return first_of((first + row for row in rows.nonzero()[:, 0].tolist()), _LISTED)
