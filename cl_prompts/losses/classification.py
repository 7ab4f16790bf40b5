"""Cross-entropy over competing classes and over rows, and masked means."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

#: Of HiDe-Prompt's contrast.
TEMPERATURE = 0.8
#: Classes that compete in a loss: all seen ones, those of the experience, or those of the batch.
ClassMask = Literal["seen", "current", "batch"]


def batch_classes(labels: Tensor, n_classes: int) -> Tensor:
    """Return the mask of the classes that occur in a batch.

    The "non-parametric logit mask" of MISA (ICLR 2025, arXiv 2503.00677), SinglePrompt (2026, arXiv
    2604.04420) and FlyPrompt (ICLR 2026, arXiv 2602.01976): head rows of absent classes get no
    gradient, so a batch cannot push them down. It needs no task boundary. ``labels`` are those of
    the batch as trained on, replayed samples included: a buffer widens the competition.

    Args:
        labels: (batch,) class ids, or zeros and ones (batch, classes).
        n_classes: columns of the logits.

    Returns:
        (classes,) boolean.

    Example:
        >>> batch_classes(torch.tensor([3, 1, 3]), 5).tolist()
        [False, True, False, True, False]
    """
    if labels.dim() == 2:
        return (labels > 0).any(dim=0)
    present = torch.zeros(n_classes, dtype=torch.bool, device=labels.device)
    # index_fill does not synchronise with a GPU, unique does.
    return present.index_fill_(0, labels, True)


def masked_cross_entropy(logits: Tensor, labels: Tensor, competing: Tensor) -> Tensor:
    """Return the mean cross-entropy over the competing classes; other head rows get no gradient.

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


def partial_cross_entropy(
    logits: Tensor, labels: Tensor, competing: Tensor, known: Tensor
) -> Tensor:
    """Return the mean cross-entropy of the known samples over the competing classes.

    Args:
        logits: (batch, classes).
        labels: (batch,) class ids, those of known samples of classes that compete.
        competing: (classes,) boolean, True for at least one class.
        known: (batch,) boolean, samples that count.

    Returns:
        scalar; 0 if no sample is known.
    """
    # The other samples get any competing label and weight 0.
    labels = torch.where(known, labels, competing.int().argmax())
    losses = F.cross_entropy(logits.masked_fill(~competing, -torch.inf), labels, reduction="none")
    return masked_mean(losses, known)


def reverse_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the reverse term of symmetric cross-entropy (Wang et al., ICCV 2019).

    Used in SLCA++, arXiv 2408.08295. ``-mean_b sum_c clamp(p_bc, 1e-7, 1) log clamp(onehot_bc,
    1e-4, 1)``, which is 9.21 times the probability off the label: bounded, so that a sample that
    contradicts all others pulls no harder than one that is merely wrong.

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
    """Return the mean of ``values`` where ``mask`` is True; 0 if it is True nowhere.

    Entries outside the mask may be infinite: they are ignored and get no gradient.

    Args:
        values: any shape.
        mask: boolean, of the same shape.

    Example:
        >>> float(masked_mean(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])))
        2.0
    """
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)


def centroid_contrast(features: Tensor, means: Tensor | None = None) -> Tensor:
    """HiDe-Prompt's contrastive regulariser (NeurIPS 2023, arXiv 2310.07234).

    With M the stored class means on top of the batch's features: ``CE(M M' / 0.8, diag)``, every
    row should be closest to itself. As published rows are not normalised, so the term's size goes
    with their squared norm; published weights are 0.1 and, for ImageNet-R, 0.5.

    Args:
        features: (batch, dim).
        means: (n, dim), all centroids of all earlier classes, constant; None: none yet.

    Returns:
        scalar.

    Example:
        >>> centroid_contrast(100 * torch.eye(3)).item()
        0.0
    """
    rows = features if means is None else torch.cat([means.detach().to(features), features])
    # CE(M M' / 0.8, diag)
    target = torch.arange(len(rows), device=rows.device)
    return F.cross_entropy(rows @ rows.T / TEMPERATURE, target)
