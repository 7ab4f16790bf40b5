"""Checks of a batch: images, labels, and the cause of a loss that is not finite."""

import torch
from torch import Tensor

from cl_prompts.backbones.architecture import Stored
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError, RunError, first_of

#: Tolerance of pixels outside [0, 1], since bicubic resizing overshoots at edges.
OVERSHOOT = 0.1
#: Largest normalised pixel, since standard deviations in use are above 1/20.
FARTHEST = 20.0


def check_input(backbone: FrozenViT, images: object, first: int = 0) -> None:
    """Check images, or stored features, for a backbone.

    Args:
        backbone: the backbone.
        images: (batch, 3, size, size), RGB, floating-point, in [0, 1] unless the caller normalises
            (``normalisation="none"``); or stored features (batch, width).
        first: position of the first image, for the message.

    Raises:
        InputError: another type or shape, NaN, or numbers out of range.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images are {kind}: give a tensor of floats in [0, 1]")
    if isinstance(backbone.features, Stored):
        return
    size = backbone.image_size
    if images.shape[1:] != (3, size, size):
        raise InputError(
            f"images have shape {tuple(images.shape)}: the backbone takes RGB images (batch, 3,"
            f" {size}, {size}), so resize them or create the backbone with another image_size"
        )
    normalised = not backbone.normalises
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
    fit = labels.is_floating_point() if multi_label else labels.dtype == torch.int64
    if not fit or labels.shape[1:] != ((n_classes,) if multi_label else ()):
        shape = tuple(labels.shape)
        raise InputError(f"labels are {labels.dtype} of shape {shape}: give {wanted}")
    good = (labels >= 0) & (labels <= (1 if multi_label else n_classes - 1))
    wrong = ~good[:, None].flatten(1).all(dim=1)
    if bool(wrong.any()):
        value = labels[~good][0].item()
        wanted += ", or a larger n_classes" if value > 0 and not multi_label else ""
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
    known = images if logits is None else logits[:, seen]
    causes = {
        "images {} contain NaN or infinity. Check the files and the transforms": images,
        "the logits of images {} are not finite. Try a smaller learning rate, or check the"
        " gradient of your own loss": known,
    }
    for cause, values in causes.items():
        broken = ~values.isfinite().flatten(1).all(dim=1)
        if bool(broken.any()):
            return RunError(f"{start}: {cause.format(positions(broken, first))}.")
    return RunError(
        f"{start}. Try a smaller learning rate. A loss of your own must leave out unseen classes,"
        " whose logits are -inf (output.logits[:, model.seen])."
    )


def positions(rows: Tensor, first: int) -> str:
    """List the true rows of a boolean (batch,) as positions.

    >>> positions(torch.tensor([True, False, True]), 32)
    '32, 34'
    """
    return first_of((first + row for row in rows.nonzero()[:, 0].tolist()), 8)
