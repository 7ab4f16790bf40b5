"""Mean over the entries of a mask."""

from __future__ import annotations

import torch
from torch import Tensor


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
