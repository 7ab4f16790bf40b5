"""Binary cross-entropy over the annotated classes."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.losses.classification import masked_mean

LossNorm = Literal["current", "all"]


def multi_label_loss(
    logits: Tensor, targets: Tensor, columns: Tensor, *, norm: LossNorm = "current"
) -> Tensor:
    """Binary cross-entropy over the annotated classes alone; the other columns get no gradient.

    Args:
        logits: (batch, classes).
        targets: (batch, classes) in [0, 1]; only entries within ``columns`` are read.
        columns: classes annotated, boolean, (classes,) or (batch, classes).
        norm: ``"current"``: mean over the annotated entries. ``"all"``: MULTI-LANE's published mean
            over all batch * classes entries, in which every other entry counts ln 2: with c of C
            columns annotated it is ``c / C * current + ln 2 * (C - c) / C``.
    """
    columns = columns.expand_as(logits)
    if norm == "all":  # logits and targets outside are 0, so that each entry there gives ln 2
        zero = torch.zeros((), device=logits.device, dtype=logits.dtype)
        return F.binary_cross_entropy_with_logits(
            torch.where(columns, logits, zero), torch.where(columns, targets.to(logits.dtype), zero)
        )
    each = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    return masked_mean(each, columns)
