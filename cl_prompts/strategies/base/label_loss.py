"""Loss on labels: (binary) cross-entropy over the competing classes."""

import torch.nn.functional as F
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from cl_prompts.losses.classification import batch_classes
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.strategies.base.stream import Batch


def label_loss(
    strategy: SupervisedTemplate, logits: Tensor, batch: Batch, rows: slice = slice(None)
) -> Tensor:
    """Return the mean cross-entropy of some samples over the classes that compete.

    With several labels per image it is binary, over the annotated classes.

    Args:
        strategy: an :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        logits: (batch, classes) of the whole batch.
        batch: the whole batch, whose classes compete with ``class_mask="batch"``.
        rows: the samples.
    """
    part = batch.part(rows)
    if strategy.model.multi_label:
        norm = strategy.loss_norm
        return multi_label_loss(logits[rows], part.labels, part.annotated, norm=norm)
    return F.cross_entropy(strategy.competing_logits(logits, batch)[rows], part.labels)


def competing_logits(strategy: SupervisedTemplate, logits: Tensor, batch: Batch) -> Tensor:
    """Return logits (batch, classes) with -inf for classes that do not compete."""
    mask = strategy.class_mask
    if mask == "batch":
        return logits.masked_fill(~strategy.competing_classes(batch.labels), float("-inf"))
    if mask == "current" and strategy.announced:
        competing = batch.annotated.expand_as(logits)
        # All seen classes compete for a sample of a foreign class: its loss would be infinite.
        foreign = ~competing.gather(1, batch.labels[:, None])
        return logits.masked_fill(~(competing | foreign), float("-inf"))
    # "seen": the model has masked the unseen classes.
    return logits


def competing_classes(strategy: SupervisedTemplate, labels: Tensor) -> Tensor:
    """Return the (classes,) mask of competing classes: those of ``labels``, or all seen.

    Example:
        >>> import torch
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LinearProbe
        >>> given = {"backbone": create_backbone(), "n_classes": 3, "device": "cpu"}
        >>> probe = LinearProbe(**given, class_mask="batch", evaluator=None)
        >>> probe.competing_classes(torch.tensor([2, 2])).tolist()
        [False, False, True]
    """
    if strategy.class_mask == "batch":
        return batch_classes(labels, strategy.model.n_classes)
    return strategy.model.seen
