"""Confidence of predictions, and the temperature that calibrates it."""

import math

import torch
from torch import Tensor

#: ends of the search for a temperature, as powers of e
_SEARCH = (-16.0, 16.0)


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


def temperature_of(logits: Tensor, targets: Tensor) -> float | None:
    """Temperature T at which ``softmax(logits / T)`` has the least cross-entropy on held-out images
    (Guo et al., ICML 2017, arXiv 1706.04599).

    If no image is classified wrongly, T would become 0. Then targets are smoothed as by Platt
    (1999): ``1 / (n + 2)`` of each goes to the runner-up.

    Args:
        logits: (n, classes) of one label per image, -inf for classes never seen.
        targets: (n,) labels, all of seen classes.

    Returns:
        None if no temperature can be fitted: without images, with a single class, or if the scores
        say nothing about the labels.

    >>> temperature_of(torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 1, 1]))
    12.98...
    """
    z = logits.double()
    z = z[:, z.isfinite().all(dim=0)]
    if len(z) == 0 or z.shape[1] < 2:
        return None
    own = logits.double().gather(1, targets[:, None])[:, 0]
    z, own = z - z.amax(dim=1, keepdim=True), own - z.amax(dim=1)
    rest = 0.0 if bool((own < 0).any()) else 1 / (len(z) + 2)
    wanted = (1 - rest) * own + rest * z.topk(2).values[:, 1]
    low, high = _SEARCH
    # Cross-entropy is convex in 1 / T, so its derivative has one root.
    for _ in range(40):
        middle = (low + high) / 2
        expected = (torch.softmax(z * math.exp(-middle), dim=1) * z).sum(dim=1)
        low, high = (low, middle) if bool(expected.mean() < wanted.mean()) else (middle, high)
    # At an end of the search the best T is infinite.
    return None if high == _SEARCH[1] else math.exp(low)
