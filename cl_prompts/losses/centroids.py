"""Contrast of features with each other and with the means of earlier classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.8


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
