"""Diagnosis of a loss that is not finite."""

from __future__ import annotations

import torch
from torch import Tensor

from cl_prompts.backbones.pixels import positions
from cl_prompts.errors import RunError


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
    if bool((rows := not_finite(images)).any()):
        return RunError(
            f"{start}: images {positions(rows, first)} contain NaN or infinity. Check these files"
            " and the data set's transforms."
        )
    if logits is not None and bool((rows := not_finite(logits[:, seen])).any()):
        return RunError(
            f"{start}: the logits of images {positions(rows, first)} are not finite. Try a smaller"
            " learning rate."
        )
    return RunError(
        f"{start}. Try a smaller learning rate. A loss of your own must leave out unseen classes,"
        " whose logits are -inf (output.logits[:, model.seen])."
    )


def not_finite(values: Tensor) -> Tensor:
    """Return the mask (batch,) of rows with NaN or infinity.

    >>> not_finite(torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])).tolist()
    [False, True]
    """
    return ~torch.isfinite(values.detach()).flatten(1).all(dim=1)
