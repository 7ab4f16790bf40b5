"""Distillation from an earlier model (LwF) or from stored logits (DER++)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from cl_prompts.models.heads import FINITE_MASK


def distillation_loss(
    new: Tensor, old: Tensor, seen: Tensor, *, temperature: float = 2.0
) -> Tensor:
    """Return the distillation loss of LwF (Li and Hoiem, ECCV 2016, arXiv 1606.09282).

    ``-(1 / batch) sum softmax(old / T) log softmax(new / T)``, both softmaxes over the seen columns
    only. No factor T^2 (as in the published Si-Blurry code, which weighs the term by 0.2).

    Deviation: the published code distils all columns of the head. For classes that the teacher did
    not see these are outputs of untrained rows, which add noise and hinder learning these classes.

    Args:
        new: (batch, classes) logits of the model in training; masked columns may be -inf.
        old: (batch, classes) logits of the teacher, taken without gradient.
        seen: (classes,) boolean: classes that the *teacher* had seen. With none the loss is 0.
        temperature: T.

    Returns:
        scalar.
    """
    # Masked instead of sliced, which would synchronise; finite, since 0 times -inf is NaN.
    target = (old.detach() / temperature).masked_fill(~seen, FINITE_MASK).softmax(dim=1)
    student = (new / temperature).masked_fill(~seen, FINITE_MASK).log_softmax(dim=1)
    return -(target * student).masked_fill(~seen, 0).sum(dim=1).mean()


class StoredLogits(nn.Module):
    """Logits of the samples in a replay buffer, and the columns seen when stored (DER++).

    Args:
        size: slots of the replay buffer.

    Example:
        >>> stored = StoredLogits(size=10, n_classes=2)
        >>> stored.put(torch.tensor([4]), torch.tensor([[1.0, 2.0]]), torch.tensor([True, False]))
        >>> stored.at(torch.tensor([4]))
        (tensor([[1., 0.]]), tensor([[ True, False]]))
    """

    class_axes: ClassVar = {"values": 1, "existed": 1}
    values: Tensor
    existed: Tensor

    def __init__(self, size: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(size, n_classes))
        self.register_buffer("existed", torch.zeros(size, n_classes, dtype=torch.bool))

    @torch.no_grad()
    def put(self, slots: Tensor, logits: Tensor, seen: Tensor) -> None:
        """Write a batch.

        Args:
            slots: (batch,) as ``buffer.add`` returned them: -1 is not stored.
            seen: (classes,) boolean, classes seen at this moment.
        """
        stored = (slots >= 0).nonzero()[:, 0].to(self.values.device)
        at = slots.to(self.values.device)[stored]
        seen = seen.to(self.values.device)
        # Logits of unseen classes are -inf; `existed` masks them.
        self.values[at] = logits.detach().to(self.values)[stored].masked_fill(~seen, 0)
        self.existed[at] = seen

    def at(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and existing columns (m, classes) of ``slots`` (m,)."""
        slots = slots.to(self.values.device)
        return self.values[slots], self.existed[slots]


def stored_logit_loss(logits: Tensor, stored: Tensor, existed: Tensor) -> Tensor:
    """Return the mean squared difference to stored logits over the columns that existed then.

    Deviation from dark experience replay (Buzzega et al., NeurIPS 2020, arXiv 2004.07211): the
    paper compares all columns, which pulls later classes to the outputs of untrained rows.

    Args:
        logits: (m, classes) now; columns outside ``existed`` may be -inf.
        stored: (m, classes).
        existed: (m, classes) boolean.

    Returns:
        scalar; 0 if nothing existed.
    """
    # mean over the columns that existed of (z - z_stored)^2
    difference = (logits - stored).masked_fill(~existed, 0)
    return difference.square().sum() / existed.sum().clamp(min=1)
