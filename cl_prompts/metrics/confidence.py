"""Confidence of a prediction, which tells images of unknown classes apart."""

from __future__ import annotations

from torch import Tensor


def confidence(logits: Tensor, seen: Tensor | None = None) -> Tensor:
    """Log odds of the best class.

    Single label: ``log(p / (1 - p))`` with the largest softmax probability p, the score of
    Hendrycks and Gimpel (ICLR 2017, arXiv 1610.02136). Computed from logits, so that images still
    differ where p rounds to 1, as in streaming LDA. Multi-label: the largest logit, which is the
    log odds of a sigmoid, or the largest score of a model without logits.

    Args:
        logits: (batch, classes); single label: -inf for unseen classes.
        seen: multi-label: (classes,) boolean, the seen classes; None: single label.

    Returns:
        (batch,); infinite for a single label and a single seen class.

    >>> import torch
    >>> logits = torch.tensor([[3.0, 1.0, -torch.inf]])
    >>> confidence(logits), confidence(logits, torch.tensor([False, True, True]))
    (tensor([2.]), tensor([1.]))
    """
    if seen is not None:
        return logits.masked_fill(~seen, float("-inf")).amax(dim=1)
    best, place = logits.max(dim=1)
    # log(p / (1 - p)) = z_best - log sum of exp z over the others
    others = logits.scatter(1, place[:, None], float("-inf"))
    return best - others.logsumexp(dim=1)
