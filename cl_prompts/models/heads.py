"""From features to class scores: the linear head, learned logit masks and the mask of unseen
classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cl_prompts.prompts.selectors import Selection

#: Stands for minus infinity where a finite number is needed (Avalanche's losses and metrics).
FINITE_MASK = -1e4


def linear_head(dim: int, n_classes: int) -> nn.Linear:
    """One row per data-set label; weights from a truncated normal of std 0.02, biases 0 (the ViT's
    own initialisation)."""
    head = nn.Linear(dim, n_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def mask_unseen(logits: Tensor, seen: Tensor, value: float = float("-inf")) -> Tensor:
    """Replace the columns of unseen classes. ``logits`` (batch, classes), ``seen`` (classes,)
    boolean."""
    return logits.masked_fill(~seen, value)


class InstanceLogitMask(nn.Module):
    """MVP's instance-wise logit mask: a learned factor in (0, 2) for every prompt and class.

    Multiplicative on signed logits, so shrinking a negative logit raises that class (as published).
    Initial value 2 sigmoid(-1) = 0.5379. For k > 1 selected prompts the parameters are averaged
    before the sigmoid.

    Args:
        size: prompts in the pool.
        n_classes: head columns.
    """

    def __init__(self, size: int, n_classes: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.full((size, n_classes), -1.0))

    def forward(self, selection: Selection) -> Tensor:
        """Selection -> mask (batch, classes)."""
        return 2 * torch.sigmoid(self.values[selection.index].mean(dim=1))
