"""Settings of the head: what it is, what it reads, and which classes compete in its loss."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import ClassVar, Literal

from cl_prompts.checks import Count, Positive, Share
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import ClassMask
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.heads import CosineHead, RowInit, UnitRowHead
from cl_prompts.models.slow_heads import Ensemble
from cl_prompts.models.whitening import FeatureWhitening, HeadInput
from cl_prompts.strategies.base.settings import Declared

HeadKind = Literal["linear", "cosine", "unit_rows"]

#: Names of the settings of head and head input, for strategies that withdraw them.
HEAD_SETTINGS = (
    "head",
    "tau",
    "head_rows",
    "head_input",
    "whitening_shrinkage",
    "whitening_refresh",
    "whitening_window",
    "whitening_replayed",
    "slow_heads",
    "ensemble",
)


class HeadSettings(Declared):
    """Head, head input and competing classes, the same for every method that trains one head over
    all classes.

    The defaults are the published form of most methods: a linear head on raw features.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LinearProbe
        >>> settings = {"head": "cosine", "head_input": "whitened"}
        >>> probe = LinearProbe(
        ...     backbone=create_backbone(), n_classes=10, evaluator=None, **settings
        ... )
        >>> type(probe.model.head).__name__, probe.model.whitening.head_input
        ('CosineHead', 'whitened')
    """

    class_mask: ClassMask = "seen"
    """Classes that compete in the cross-entropy over one label per image, so that head rows of
    other classes get no gradient: ``"seen"``, all classes seen so far; ``"current"``, those of the
    announced task (a replayed sample: those of its own task; without an announced boundary all
    classes seen, and so for a sample of a foreign class, which only a plugin can bring);
    ``"batch"``, those whose labels occur in the mini-batch, replayed samples included, boundary or
    not (SinglePrompt, MISA). Tests are over the classes seen in any case."""
    head: HeadKind = "linear"
    """The head over all classes: ``"linear"``, or without bias ``"cosine"``
    (:class:`~cl_prompts.models.heads.CosineHead`) or ``"unit_rows"`` on normed features
    (:class:`~cl_prompts.models.heads.UnitRowHead`)."""
    tau: Positive | None = 0.1
    """Temperature of a cosine head; None learns its inverse from 1."""
    head_rows: RowInit = "uniform"
    """How the rows of a cosine head begin: ``"uniform"`` U(-1, 1) / sqrt(width), as published, or
    ``"small"``, as those of the linear head, which learn faster."""
    head_input: HeadInput = "raw"
    """What the head reads: features as they are (``"raw"``), or ``"centred"``, ``"standardised"``
    or ``"whitened"`` by statistics of the training batches so far
    (:class:`~cl_prompts.models.whitening.FeatureWhitening`)."""
    whitening_shrinkage: Positive = 1.0
    """Shrinkage of the covariance towards a multiple of the identity; 1 needs no tuning."""
    whitening_refresh: Count = 5
    """Stream batches between two renewals of the whitening matrix."""
    whitening_window: Count | None = None
    """Samples that the statistics weigh as much as at most; None for all of the stream."""
    whitening_replayed: bool = True
    """Whether replayed samples enter the statistics, too."""
    slow_heads: Sequence[Share] = ()
    """Decays of slow heads: averages of the head over the updates, which decide with it in
    evaluation and cost nothing (:class:`~cl_prompts.models.slow_heads.SlowHeads`; FlyPrompt's are
    0.9 and 0.99)."""
    ensemble: Ensemble = "softmax_max_prob"
    """How head and slow heads decide together: by the greatest probability of a class
    (``"softmax_max_prob"``), the mean one (``"softmax_mean"``), the surest head
    (``"softmax_min_entropy"``), or the greatest or mean logit (``"max_prob"``, ``"mean"``)."""

    masks_classes: ClassVar[bool] = True
    """Whether the method's loss knows ``class_mask="current"``."""

    @property
    def n_head_experts(self) -> int:
        """Experts that have slow heads of their own."""
        return 1

    def check_class_mask(self, batch_size: int) -> None:
        """Refuse a class mask that the method does not know, and warn of one on small batches."""
        if self.class_mask == "current" and not self.masks_classes:
            raise InputError(
                f"the loss of {type(self).__name__} is over all classes seen: leave out"
                " class_mask=current"
            )
        if self.class_mask == "batch" and batch_size < 8:
            warnings.warn(
                f"class_mask=batch with train_mb_size={batch_size}: a batch of one class"
                " teaches nothing, and small batches often are",
                stacklevel=3,
            )

    def fit_head(self, model: ContinualModel) -> None:
        """Give a model that was just built the head and the head input of the settings."""
        dim = model.backbone.dim
        if self.head == "cosine":
            head = CosineHead(dim, model.n_classes, tau=self.tau, initial=self.head_rows)
            model.set_head(head)
        elif self.head == "unit_rows":
            model.set_head(UnitRowHead(dim, model.n_classes))
        if self.head_input != "raw":
            model.set_head(
                whitening=FeatureWhitening(
                    dim,
                    self.head_input,
                    shrinkage=self.whitening_shrinkage,
                    refresh=self.whitening_refresh,
                    window=self.whitening_window,
                )
            )
        if self.slow_heads:
            model.set_slow_heads(self.slow_heads, self.n_head_experts, self.ensemble)

    def check_labels_of(self, model: ContinualModel) -> None:
        """Refuse the batch mask and slow heads for a multi-label model."""
        if model.multi_label and self.slow_heads:
            raise InputError(
                "slow_heads decide by the probabilities of a softmax, and several classes per image"
                " have a logistic one each: leave them out"
            )
        if model.multi_label and self.class_mask == "batch":
            raise InputError(
                "class_mask=batch chooses the classes of a softmax, and several classes per image"
                " have a logistic loss each: leave it out"
            )

    def refuse_for_given_model(self) -> None:
        """Refuse a head or head input for a model that was given ready-made."""
        for name in ("head", "head_input", "slow_heads"):
            if getattr(self, name) != HeadSettings.settings()[name].default:
                raise InputError(
                    f"{name} says how a model is built, and this one was given: give it what it"
                    " names where you build it, or let the strategy build it from backbone="
                    " and n_classes="
                )
