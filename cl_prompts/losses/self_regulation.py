"""Losses of PromptSRC and CoPrompt, between prompted and frozen features and classifiers.

Published for CLIP; here the frozen class rows are running means of frozen features, since there is
no text tower. Gradient goes to the prompted side alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.losses.classification import masked_mean
from cl_prompts.prompts.selectors import unit_rows


def row_difference(rows: Tensor, frozen: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference of rows of unit length.

    PromptSRC's image term on features and class term on class rows (Khattak et al., ICCV 2023,
    arXiv 2307.06948). Published weights are 10 for features and 25 for class rows of width 512; the
    mean is over all numbers, so the weight of another width is to be scaled by width / 512.

    Args:
        rows: (n, dim) prompted features or trained class rows.
        frozen: (n, dim) frozen ones.
        known: (n,) boolean, rows that have a frozen counterpart; None: all.

    Returns:
        scalar; 0 if no row is known.
    """
    # |r / ||r|| - f / ||f||| (PromptSRC's image and class terms)
    difference = unit_rows(rows) - unit_rows(frozen.detach())
    if known is None:
        return difference.abs().mean()
    return masked_mean(difference.abs(), known[:, None].expand_as(difference))


def logit_divergence(logits: Tensor, frozen: Tensor, known: Tensor) -> Tensor:
    """Return ``KL(softmax frozen || softmax logits)`` per sample and class (PromptSRC).

    As published the sum is divided by batch * classes, so the weight of the term falls with the
    number of classes.

    Args:
        logits: (batch, classes); columns that are not known may be -inf.
        frozen: (batch, classes) logits of the frozen classifier.
        known: (classes,) boolean, columns that take part.

    Returns:
        scalar; 0 if no column is known.
    """
    # KL = sum p (log p - log q), p of the frozen classifier
    student = _log_softmax(logits, known)
    teacher = _log_softmax(frozen.detach(), known)
    return masked_mean(teacher.exp() * (teacher - student), known.expand_as(logits))


def _log_softmax(logits: Tensor, known: Tensor) -> Tensor:
    """Log-softmax over known columns; 0 in the others, and everywhere without any."""
    masked = logits.masked_fill(~known, float("-inf"))
    # Without known columns, zeros avoid NaN.
    masked = torch.where(known.any(), masked, torch.zeros_like(masked))
    return masked.log_softmax(dim=1).masked_fill(~known, 0)


def cosine_consistency(rows: Tensor, frozen: Tensor, known: Tensor | None = None) -> Tensor:
    """``1 - mean cos(rows, frozen)`` (CoPrompt, Roy and Etemad, ICLR 2024).

    CoPrompt adds it for features and for class rows, each of them with weight 8, where the frozen
    features come from a second augmentation of the image and the prompted side has passed an
    adapter; neither is here.

    Args:
        rows: (n, dim).
        frozen: (n, dim).
        known: (n,) boolean, rows that count; None: all.

    Returns:
        scalar; 0 if no row is known.
    """
    # 1 - cos(r, f)
    distance = 1 - F.cosine_similarity(rows, frozen.detach(), dim=-1)
    if known is None:
        return distance.mean()
    return masked_mean(distance, known)
