"""A loss that is not finite: the samples that it came from."""

from __future__ import annotations

import torch
from torch import Tensor

from cl_prompts.backbones.pixels import positions
from cl_prompts.errors import RunError


def fault_of(
    loss: float, images: Tensor, logits: Tensor | None, seen: Tensor, first: int
) -> RunError:
    """The error for a loss that is not finite, after a look at the batch that it came from.

    Args:
        loss: NaN or infinite.
        images: (batch, 3, size, size), the samples of the stream first.
        logits: (batch, classes) that the loss was computed from, if they are known.
        seen: (classes,) boolean, classes seen so far.
        first: stream position of the first sample.
    """
    start = f"the loss became {loss} at stream positions from {first} on"
    # From the input towards the loss: the first that is not finite is where it began.
    if bool((rows := not_finite(images)).any()):
        return RunError(
            f"{start}: images {positions(rows, first)} hold NaN or infinity, so look at these"
            " files and at the data set's transforms"
        )
    if logits is not None and bool((rows := not_finite(logits[:, seen])).any()):
        return RunError(
            f"{start}: the logits of images {positions(rows, first)} are not finite, so try a"
            " smaller learning rate"
        )
    return RunError(
        f"{start}: try a smaller learning rate; a loss of your own has to leave out classes that"
        " were not seen, whose logits are -inf (output.logits[:, model.seen])"
    )


def not_finite(values: Tensor) -> Tensor:
    """(batch,) rows that hold NaN or infinity.

    >>> not_finite(torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])).tolist()
    [False, True]
    """
    return ~torch.isfinite(values.detach()).flatten(1).all(dim=1)
