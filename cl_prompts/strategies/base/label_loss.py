"""Loss on labels: (binary) cross-entropy over the competing classes."""

from __future__ import annotations

import torch.nn.functional as F
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from cl_prompts.losses.classification import batch_classes
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.strategies.base.stream import Batch


class LabelLoss:
    """Mean cross-entropy over the classes that compete (``class_mask``).

    With several labels per image it is binary, over the annotated classes.

    Args:
        strategy: an :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.

    Example:
        >>> import torch
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LinearProbe
        >>> given = {"backbone": create_backbone(), "n_classes": 3, "device": "cpu"}
        >>> probe = LinearProbe(**given, class_mask="batch", evaluator=None)
        >>> probe.label_loss.competing_classes(torch.tensor([2, 2])).tolist()
        [False, False, True]
    """

    def __init__(self, strategy: SupervisedTemplate) -> None:
        self.strategy = strategy

    def __call__(self, logits: Tensor, batch: Batch, rows: slice = slice(None)) -> Tensor:
        """Return the loss of some samples.

        Args:
            logits: (batch, classes) of the whole batch.
            batch: the whole batch, whose classes compete with ``class_mask="batch"``.
            rows: the samples.
        """
        strategy, part = self.strategy, batch.part(rows)
        if strategy.model.multi_label:
            norm = strategy.loss_norm
            return multi_label_loss(logits[rows], part.labels, part.annotated, norm=norm)
        return F.cross_entropy(self.competing_logits(logits, batch)[rows], part.labels)

    def competing_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return logits (batch, classes) with -inf for classes that do not compete."""
        mask = self.strategy.class_mask
        if mask == "batch":
            return logits.masked_fill(~self.competing_classes(batch.labels), float("-inf"))
        if mask == "current" and self.strategy.announced:
            competing = batch.annotated.expand_as(logits)
            # All seen classes compete for a sample of a foreign class: its loss would be infinite.
            foreign = ~competing.gather(1, batch.labels[:, None])
            return logits.masked_fill(~(competing | foreign), float("-inf"))
        # "seen": the model has masked the unseen classes.
        return logits

    def competing_classes(self, labels: Tensor) -> Tensor:
        """Return the (classes,) mask of competing classes: those of ``labels``, or all seen."""
        model = self.strategy.model
        if self.strategy.class_mask == "batch":
            return batch_classes(labels, model.n_classes)
        seen: Tensor = model.seen
        return seen
