"""Losses over the labels of a batch, and the classes that compete in them."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from cl_prompts.losses.classification import ClassMask, batch_classes
from cl_prompts.losses.multi_label import LossNorm, multi_label_loss
from cl_prompts.strategies.base.stream import Batch


class LabelLosses:
    """Losses that a method may call, by its settings ``class_mask`` and ``loss_norm``."""

    model: Any
    announced: bool
    class_mask: ClassMask
    loss_norm: LossNorm

    def label_loss(self, logits: Tensor, batch: Batch, *, whole: Batch | None = None) -> Tensor:
        """Cross-entropy over the classes that compete (``class_mask``); multi-label: binary, over
        the annotated classes.

        Args:
            logits: (batch, classes) of the batch's samples.
            batch: a batch, or a part of one.
            whole: the batch that ``batch`` is a part of, if it is one (DER++ replays in two parts).
        """
        if self.model.multi_label:
            return multi_label_loss(logits, batch.labels, batch.annotated, norm=self.loss_norm)
        return F.cross_entropy(self.competing_logits(logits, batch, whole=whole), batch.labels)

    def competing_logits(
        self, logits: Tensor, batch: Batch, *, whole: Batch | None = None
    ) -> Tensor:
        """Logits with those of classes that do not compete (``class_mask``) at -inf; the arguments
        are those of :meth:`label_loss`."""
        if self.class_mask == "batch":
            competing = self.competing_classes((whole or batch).labels)
            return logits.masked_fill(~competing, float("-inf"))
        if self.class_mask == "current" and self.announced:
            competing = batch.annotated.expand_as(logits)
            # The loss of a sample whose own class does not compete would be infinite: all seen
            # classes compete for it.
            foreign = ~competing.gather(1, batch.labels[:, None])
            return logits.masked_fill(~(competing | foreign), float("-inf"))
        # "seen": the model has hidden the classes that were not.
        return logits

    def competing_classes(self, labels: Tensor) -> Tensor:
        """Classes that compete in a loss over a whole batch, (classes,) boolean: those of its
        labels (batch,), replayed samples included, or all that were seen."""
        if self.class_mask == "batch":
            return batch_classes(labels, self.model.n_classes)
        seen: Tensor = self.model.seen
        return seen
