"""Confidence of a prediction, by which images of unknown classes can be told apart."""

from __future__ import annotations

from torch import Tensor


def confidence(logits: Tensor, seen: Tensor | None = None) -> Tensor:
    """Log odds of the best class.

    Of one label per image ``log(p / (1 - p))`` with the greatest probability p of the softmax, the
    score of Hendrycks and Gimpel (ICLR 2017, arXiv 1610.02136); computed from logits, so that
    images still differ of which p rounds to 1, as it does in streaming LDA. Of several labels the
    greatest logit, which is the same of a sigmoid's probability, or the greatest score where scores
    are no logits.

    Args:
        logits: (batch, classes); of one label per image -inf for classes never seen.
        seen: of several labels per image (classes,) boolean, the classes seen; None of one label.

    Returns:
        (batch,); infinite where a single class was seen and an image has one label.

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
