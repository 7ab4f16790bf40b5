"""Numbers that are not finite: found early, with the samples that they came from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cl_prompts.errors import RunError, first_of
from cl_prompts.models.base import ContinualModel

#: weights beyond this have lost every digit that a step of training could add
LARGEST_WEIGHT = 1e12
_KNOWN = ("cl_prompts", "avalanche")  # packages whose losses leave out the classes not seen
_LISTED = 8  # positions that one sentence may hold


def check_weights(model: ContinualModel, samples_seen: int, parts: Iterable[object] = ()) -> None:
    """Stop where training has driven a parameter to infinity, or near it.

    Reads every trained parameter once, which makes a GPU wait: meant for the end of an experience.

    Args:
        model: that was trained.
        samples_seen: stream samples so far, for the sentence.
        parts: as for :func:`blame`.

    Raises:
        RunError: names the parameter.
    """
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad and p.numel()]
    if not trained:
        return
    # One number for each parameter, and one transfer for all.
    greatest = torch.stack([p.detach().abs().amax().float() for _, p in trained]).tolist()
    for (name, _), value in zip(trained, greatest, strict=True):
        # Written so that NaN, which is neither smaller nor greater, is caught, too.
        if not value <= LARGEST_WEIGHT:
            hint = _unseen_columns(model, parts)
            raise RunError(
                f"the weights {name} reached {value:.3g} after {samples_seen} samples of the"
                f" stream: give a smaller learning rate{hint and '; otherwise '}{hint}"
            )


def blame(
    loss: float,
    images: Tensor,
    model: ContinualModel,
    first: int,
    logits: Tensor | None = None,
    parts: Iterable[object] = (),
) -> RunError:
    """The error for a loss that is not finite, after a look at the batch that it came from.

    Args:
        loss: NaN or infinite.
        images: (batch, 3, size, size), the samples of the stream first.
        model: that computed the loss.
        first: stream position of the first sample.
        logits: (batch, classes) that the loss was computed from, if they are known.
        parts: strategy and plugins that the loss may come from; those from outside the package are
            named.
    """
    start = f"the loss became {loss} at stream positions from {first} on"
    # From the input towards the loss: the first that is not finite is where it began.
    rows = not_finite(images)
    if rows:
        where = positions(rows, first)
        return RunError(
            f"{start}: the images at {where} hold NaN or infinity, so look at these files and at"
            " the data set's transforms"
        )
    with torch.no_grad():
        rows = not_finite(model.backbone(images))
    if rows and not model.backbone.trainable:
        where = positions(rows, first)
        return RunError(
            f"{start}: the frozen features of the images at {where} are not finite, so look at the"
            " backbone's weights, normalisation and precision"
        )
    hint = _unseen_columns(model, parts)
    if not hint:
        return RunError(f"{start}: a smaller learning rate may help")
    if logits is not None and not not_finite(logits[:, model.seen]):
        return RunError(f"{start}: {hint}; otherwise a smaller learning rate may help")
    # An update before this one, whose loss may have been finite, gave weights that are not.
    return RunError(f"{start}: a smaller learning rate may help; otherwise {hint}")


def _unseen_columns(model: ContinualModel, parts: Iterable[object]) -> str:
    """Words on logits of -inf, where a loss from outside the package may read some; else none."""
    own = [type(p).__name__ for p in parts if type(p).__module__.split(".")[0] not in _KNOWN]
    unseen = 0 if model.multi_label else int((~model.seen).sum())
    if not own or not unseen:
        return ""
    return (
        f"the {unseen} classes that were not seen yet have logits of -inf, and a loss in"
        f" {', '.join(own)} has to leave them out: take the columns output.logits[:, model.seen],"
        " as docs/extending.md shows"
    )


def not_finite(values: Tensor) -> list[int]:
    """Rows that hold NaN or infinity."""
    good = torch.isfinite(values.detach()).flatten(1).all(dim=1)
    return torch.nonzero(~good).flatten().tolist()


def positions(rows: list[int], first: int) -> str:
    """Rows of a batch as stream positions, in words.

    >>> positions([0, 2], 32)
    '32, 34'
    """
    return first_of((first + row for row in rows), _LISTED)
