"""Head of a method, the normalisation of its input, its default loss, and classifiers to align."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from cl_prompts.checks import Count, Positive, Share
from cl_prompts.closed_form.shrinkage import ByRule
from cl_prompts.closed_form.whitening import FeatureWhitening, HeadInput
from cl_prompts.losses.classification import batch_classes
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.alignment import BatchAlignment
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.heads import CosineHead, RowInit, UnitRowHead
from cl_prompts.strategies.base.settings import Settings
from cl_prompts.strategies.base.stream import Batch

HeadKind = Literal["linear", "cosine", "unit_rows"]


class Head(Settings):
    """Head over all classes, and its input, for every method that trains one.

    The defaults are the published form of most methods: a linear head on raw features. A method's
    own head supplies the settings that are not given.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LinearProbe
        >>> head = Head(kind="cosine", input="whitened")
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> probe = LinearProbe(**given, head=head)
        >>> type(probe.model.head).__name__, probe.model.whitening.head_input
        ('CosineHead', 'whitened')
    """

    kind: HeadKind = "linear"
    """``"linear"``, or without bias ``"cosine"`` (:class:`~cl_prompts.models.heads.CosineHead`) or
    ``"unit_rows"`` on normed features (:class:`~cl_prompts.models.heads.UnitRowHead`)."""
    tau: Positive | None = 0.1
    """Temperature of a cosine head; None learns its inverse from 1."""
    rows: RowInit = "uniform"
    """Initial rows of a cosine head: ``"uniform"`` U(-1, 1) / sqrt(width), as published, or
    ``"small"``, as those of the linear head, which learn faster."""
    input: Literal["raw", HeadInput, "aligned"] = "raw"
    """``"raw"`` features, or features ``"centred"``, ``"standardised"`` or ``"whitened"`` by
    statistics of the training batches so far
    (:class:`~cl_prompts.closed_form.whitening.FeatureWhitening`); ``"aligned"``, for comparison,
    maps them batch by batch to a moving reference covariance (MePo,
    :mod:`cl_prompts.models.alignment`), so predictions depend on the other samples of the batch."""
    coefficient: Share = 0.5
    """Share of the aligned feature, of unit norm."""
    shrinkage: Positive | ByRule = 1.0
    """Shrinkage of the covariance towards a multiple of the identity; 1 needs no tuning. ``"oas"``
    computes it from the covariance and the number of samples."""
    aligned_tests: bool = True
    """Whether the alignment acts in tests as well; MVP's does not."""
    refresh: Count = 5
    """Stream batches between two updates of the whitening matrix."""
    window: Count | None = None
    """Greatest weight of the past in the statistics, in samples; None for the whole stream."""
    replayed: bool = True
    """Whether replayed samples enter streaming statistics; alignment always uses them."""

    def fit(self, model: ContinualModel) -> None:
        """Set this head in a new model."""
        dim = model.backbone.feature_dim
        if self.kind == "cosine":
            model.head = CosineHead(dim, model.n_classes, tau=self.tau, initial=self.rows)
        elif self.kind == "unit_rows":
            model.head = UnitRowHead(dim, model.n_classes)
        if self.input == "raw":
            return
        if self.input != "aligned":
            streaming = self.values_of("shrinkage", "refresh", "window")
            model.whitening = FeatureWhitening(dim, self.input, **streaming)
        else:
            model.whitening = BatchAlignment(dim, coefficient=self.coefficient)
            model.whitening.in_evaluation = self.aligned_tests


@dataclass(frozen=True)
class Classifier:
    """A classifier of a method, and the features that it reads.

    Attributes:
        module: maps features (batch, dim) to logits (batch, classes).
        features: maps the model's output to (batch, dim).
        rows: maps a batch to the (batch,) mask of samples that enter streaming statistics; None
            for all stream samples.
        samples: draws per class in alignment; None for as many as for the head.
        dim: width of the features; None for that of the head's.

    Example:
        >>> head = nn.Linear(4, 3)
        >>> Classifier(head, lambda output: output.raw).samples is None
        True
    """

    module: nn.Module
    features: Callable[[Output], Tensor]
    rows: Callable[[Batch], Tensor] | None = None
    samples: int | None = None
    dim: int | None = None


def head_of(model: ContinualModel) -> Classifier:
    """Return the head of a model, with the whitening of its input if there is one."""
    head = model.head
    module = head if model.whitening is None else nn.Sequential(model.whitening, head)
    return Classifier(module, raw_features)


def raw_features(output: Output) -> Tensor:
    """Return the features (batch, dim) before whitening."""
    assert output.raw is not None
    return output.raw


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
