"""Cross-entropy among the classes that compete, which those are, and means over masks."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

#: Which classes compete in a loss: all seen so far, those of the current experience, or those whose
#: labels occur in the batch.
ClassMask = Literal["seen", "current", "batch"]


def batch_classes(labels: Tensor, n_classes: int) -> Tensor:
    """The classes whose labels occur in a batch.

    The "non-parametric logit mask" of MISA (ICLR 2025, arXiv 2503.00677), SinglePrompt (2026, arXiv
    2604.04420) and FlyPrompt (ICLR 2026, arXiv 2602.01976): head rows of absent classes get no
    gradient, so a batch cannot push them down. It needs no task boundary. ``labels`` are those of
    the batch as trained on, replayed samples included: a buffer widens the competition.

    Args:
        labels: (batch,) class ids.
        n_classes: columns of the logits.

    Returns:
        (classes,) boolean.

    Example:
        >>> batch_classes(torch.tensor([3, 1, 3]), 5).tolist()
        [False, True, False, True, False]
    """
    present = torch.zeros(n_classes, dtype=torch.bool, device=labels.device)
    # index_fill instead of unique: its result has a known shape, so no device is waited for.
    return present.index_fill_(0, labels, True)


def has_one_class(labels: Tensor) -> Tensor:
    """Whether all samples of a batch belong to one class, where loss and gradient of the batch mask
    are 0.

    Args:
        labels: (batch,) class ids.

    Returns:
        boolean scalar on the labels' device, so that counting such batches waits for nothing; True
        for an empty batch.
    """
    return (labels == labels[:1]).all()


def masked_cross_entropy(logits: Tensor, labels: Tensor, competing: Tensor) -> Tensor:
    """Mean cross-entropy with the logits of all classes that do not compete at -inf.

    Head rows of those classes get gradient zero.

    Args:
        logits: (batch, classes); columns outside ``competing`` may be anything but NaN.
        labels: (batch,) class ids, each of a class that competes: otherwise the loss is infinite.
        competing: (classes,) or (batch, classes) boolean.

    Returns:
        scalar.

    Example:
        >>> labels = torch.tensor([0, 2])
        >>> loss = masked_cross_entropy(torch.zeros(2, 9), labels, batch_classes(labels, 9))
        >>> round(loss.item(), 4)  # ln 2
        0.6931
    """
    return F.cross_entropy(logits.masked_fill(~competing, float("-inf")), labels)


def reverse_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The reverse half of symmetric cross-entropy (Wang et al., ICCV 2019; in SLCA++, arXiv
    2408.08295).

    ``-mean_b sum_c clamp(p_bc, 1e-7, 1) log clamp(onehot_bc, 1e-4, 1)``, which is 9.21 times the
    probability off the label: bounded, so that a sample that contradicts all others pulls no
    harder than one that is merely wrong.

    Args:
        logits: (batch, classes); columns at -inf do not compete.
        labels: (batch,) class ids.

    Returns:
        scalar.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0, float("-inf")]])
        >>> round(reverse_cross_entropy(logits, torch.tensor([1])).item(), 4)  # ln(1e4) / 2
        4.6052
    """
    probability = logits.softmax(dim=-1).clamp(1e-7, 1)
    columns = torch.arange(logits.shape[1], device=labels.device)
    # log clamp(onehot): 0 at the label, log 1e-4 at all other classes that compete
    others = (columns != labels[:, None]) & (logits != float("-inf"))
    return -math.log(1e-4) * (probability * others).sum(dim=-1).mean()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries of ``values`` where ``mask`` is True; 0 where none is.

    An entry outside the mask may hold anything, even infinity: it is ignored and gets no gradient.

    Args:
        values: any shape.
        mask: boolean, of the same shape.

    Example:
        >>> float(masked_mean(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])))
        2.0
    """
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)
