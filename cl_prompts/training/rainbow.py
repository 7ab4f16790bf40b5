"""Rainbow Memory's diversity-aware selection: evenly over uncertainty, equally over classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def view_uncertainty(scores: Tensor) -> Tensor:
    """Compute Rainbow Memory's uncertainty from predictions for augmented views.

    ``u = 1 - max_c (views predicted as c) / views`` (Bang et al., CVPR 2021, arXiv 2103.17230,
    diversity-aware memory update).

    Args:
        scores: (views, samples, classes) logits or probabilities.

    Returns:
        (samples,) in [0, 1).
    """
    views, _, classes = scores.shape
    # votes[i, c]: views of sample i predicted as c
    votes = F.one_hot(scores.argmax(dim=-1), classes).sum(dim=0)
    # u = 1 - max_c votes_c / views
    return 1 - votes.max(dim=-1).values / views


def diverse_selection(uncertainty: Tensor, labels: Tensor, size: int) -> Tensor:
    """Select samples at equal distances in each class's ranking by uncertainty.

    Rainbow Memory's diversity-aware selection. Every class gets the same share (within one); larger
    classes share what a small class cannot fill. Of m samples of a class, ranked from the most
    certain one, those at positions ``floor(j m / k)``, j = 0 .. k-1, are selected. The published
    Si-Blurry code contains such a selection but never calls it.

    Args:
        uncertainty: (candidates,), see :func:`view_uncertainty`.
        labels: (candidates,) class of each.
        size: number of samples to choose.

    Returns:
        (min(size, candidates),) int64 candidates, ascending.
    """
    classes, counts = labels.unique(return_counts=True)
    chosen = []
    left = size
    for done, i in enumerate(counts.argsort(stable=True).tolist()):
        have = int(counts[i])
        # an equal share of what is left, small classes first
        take = min(have, left // (len(classes) - done))
        left -= take
        # of the class, ranked by uncertainty, those at floor(j m / k)
        members = (labels == classes[i]).nonzero()[:, 0]
        ranked = members[uncertainty[members].argsort(stable=True)]
        chosen.append(ranked[torch.arange(take) * have // max(take, 1)])
    return torch.cat(chosen).sort().values if chosen else torch.empty(0, dtype=torch.int64)
