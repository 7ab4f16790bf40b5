"""Binary cross-entropy over the annotated classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.errors import unknown

LOSS_NORMS = ("current", "all")


def multi_label_loss(
    logits: Tensor, targets: Tensor, columns: Tensor, *, norm: str = "current"
) -> Tensor:
    """Binary cross-entropy over the annotated classes alone; the other columns get no gradient.

    Args:
        logits: (batch, classes).
        targets: (batch, classes) in [0, 1]; only entries within ``columns`` are read.
        columns: classes annotated, boolean, (classes,) or (batch, classes).
        norm: ``"current"``: mean over the annotated entries. ``"all"``: MULTI-LANE's published mean
            over all batch * classes entries, in which every other entry counts ln 2: with c of C
                columns annotated it is
            ``c / C * current + ln 2 * (C - c) / C``.

    Raises:
        InputError: unknown norm.
    """
    if norm not in LOSS_NORMS:
        raise unknown("loss_norm", norm, LOSS_NORMS)
    columns = columns.expand_as(logits)
    if norm == "all":
        zero = torch.zeros((), device=logits.device, dtype=logits.dtype)
        return F.binary_cross_entropy_with_logits(
            torch.where(columns, logits, zero), torch.where(columns, targets.to(logits.dtype), zero)
        )
    each = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    # where() before the sum: a column outside may hold anything, even infinity, and has no say.
    return torch.where(columns, each, torch.zeros_like(each)).sum() / columns.sum().clamp(min=1)
