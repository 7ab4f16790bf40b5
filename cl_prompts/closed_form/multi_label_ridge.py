"""Multi-label ridge regression, and L3A's weights and pseudo-labels on top."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from cl_prompts.closed_form.bottom_k import BottomK
from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.closed_form.leave_one_out import SAMPLED, LeaveOneOut, least
from cl_prompts.closed_form.ranpac import RanPAC
from cl_prompts.closed_form.ridge import Expansion
from cl_prompts.closed_form.sums import Limits
from cl_prompts.metrics.multi_label import average_precision

SampleWeights = Literal["none", "sqrt"]

#: Candidates for the ridge.
RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)


class MultiLabelRidge(RanPAC):
    """Multi-label ridge regression on frozen features.

    With inputs ``h = [f, 1]`` and targets y, the annotated labels and 0 elsewhere: ``G += h' h``,
    ``Q += h' y``, ``W = (G + ridge I)^-1 Q``, scores ``h W``. Labels that are not annotated count
    as absent, so images of all other tasks are negatives of a class: the source of its lead over
    gradient methods. One pass, no replay; order and batches do not matter. Not a published method
    under this name.

    **L3A** (ICML 2025, arXiv 2506.00816) is ``expansion="uniform", width=4096, ridge=1, pseudo=0.7,
    weights="sqrt"``:

    * random features instead of f and 1;
    * ``pseudo``: a class of an earlier task that is not annotated counts as present where the
      solution at the last :meth:`settle` says ``sigmoid(score) > pseudo``; pseudo-labels never
      change annotated classes and are never revised;
    * ``weights="sqrt"``: a sample weighs as much as the mean class weight of its positives,
      pseudo-labels included. Class weights are proportional to count^-1/2 of annotated labels, with
      mean 1 over the classes met so far. Samples without positives are left out. Earlier sums keep
      their weights, as published.

    Deviations of L3A: the published code trains the backbone on the first task and keeps sums in
    float32. It counts a task's labels before the first image, as :meth:`count_labels` does where a
    task's labels are known; otherwise counts grow batch by batch. Without task boundaries call
    :meth:`settle` at regular intervals.

    Scores are around 0 and 1 and are not logits: F1 scores use :attr:`score_threshold`.

    Args:
        expansion: random features, see :class:`~cl_prompts.closed_form.ridge.RandomExpansion`;
            None: the features and a constant 1.
        width: number of random features.
        ridge: positive; ``"leave_one_out"``: at each solution that of the greatest mean average
            precision of leave-one-out scores (PRESS) on a sample of annotated labels.
        pseudo: probability above which an earlier class counts as present; None: no pseudo-labels.
        weights: ``"none"`` or ``"sqrt"``, see above.
        held_out: features stored for :meth:`choose_ridge`; 0: none.
        seed: of random features and held-out sample.

    Example:
        >>> ridge = MultiLabelRidge(4, 3)
        >>> ridge.update(torch.randn(9, 4), torch.tensor([[1, 0, 1]] * 9))
        >>> ridge(torch.randn(2, 4)).shape
        torch.Size([2, 3])
    """

    score_threshold = 0.1
    """Scores above it are predicted labels (L3A's sigmoid(score) > 0.525)."""

    class_axes: ClassVar = {**RanPAC.class_axes, "met": 0, "settled": 0, "settled_weight": 1}
    met: Tensor
    settled: Tensor
    settled_weight: Tensor
    chosen: Tensor
    """Ridge of the last solution, if leave-one-out scores choose it."""

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        expansion: Expansion | None = None,
        width: int = 4096,
        ridge: float | LeaveOneOut = 100.0,
        pseudo: float | None = None,
        weights: SampleWeights = "none",
        held_out: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            dim,
            n_classes,
            projection=width,
            expansion=expansion,
            intercept=expansion is None,
            ridge=100.0 if isinstance(ridge, str) else ridge,
            held_out=held_out,
            seed=seed,
        )
        self.sample = BottomK(SAMPLED, dim, n_classes) if isinstance(ridge, str) else None
        self.pseudo = pseudo
        self.weights = weights
        self.leaves_one_out = pseudo is None and weights == "none"
        # The weight of a sample is stored behind its features.
        self.held = HeldOutSample(held_out, dim + 1, n_classes, seed=seed)
        self.register_buffer("met", torch.zeros(n_classes, dtype=torch.bool))
        if pseudo is not None:
            self.register_buffer("settled", torch.zeros(n_classes, dtype=torch.bool))
            size = (self.statistics.size, n_classes)
            self.register_buffer("settled_weight", torch.zeros(size, dtype=torch.float64))

    def limits(self) -> Limits:
        """Pseudo-labels and weights are not sums."""
        if self.pseudo is not None:
            return Limits("pseudo-labels depend on the order of the stream")
        weighed = self.weights != "none"
        return Limits("weights of samples depend on the order of the stream" if weighed else None)

    def combined(self, other: MultiLabelRidge | None, sign: int) -> None:  # type: ignore[override]
        """Join the classes met; a subtraction leaves them."""
        super().combined(other, sign)
        if sign == 1 and other is not None:
            self.met |= other.met
        elif not sign:
            self.met.zero_()

    @torch.no_grad()
    def count_labels(self, targets: Tensor, annotated: Tensor | None = None) -> None:
        """Count the labels of a task before its samples, so that all have the same weights.

        Then call :meth:`update` with ``counted=True``.

        Args:
            targets: (n, classes) 0/1.
            annotated: see :meth:`update`.
        """
        known = self._annotated(targets, annotated)
        self.count += targets.to(self.count.dtype).masked_fill(~known, 0).sum(dim=0)
        # Without annotation masks, a class is met when it occurs.
        self.met |= self.seen if annotated is None else known.any(dim=0)

    @torch.no_grad()
    def update(
        self,
        features: Tensor,
        labels: Tensor,
        annotated: Tensor | None = None,
        *,
        counted: bool = False,
    ) -> None:
        """Add a batch to the sums.

        Args:
            features: (batch, dim), any float type.
            labels: (batch, classes) 0/1, read where annotated; or (batch,) integers for samples of
                one class each, whose other classes are absent.
            annotated: (classes,) or (batch, classes) boolean mask of known entries; None: all.
            counted: the labels were given to :meth:`count_labels` before.
        """
        labels = self.multi_hot(labels)
        if not counted:
            self.count_labels(labels, annotated)
        with torch.autocast(features.device.type, enabled=False):
            inputs = self.statistics.inputs(features)
            y = self.targets(inputs, labels, annotated)
            weights = self.sample_weights(y)
            self.statistics.add(inputs, y, weights)
            if self.sample is not None:
                known = self._annotated(labels, annotated)
                # 1: present, -1: absent, 0: not annotated, as classes that are added later
                self.sample.add(features, (2 * labels - 1).masked_fill(~known, 0))
            weight = y.new_ones(len(y)) if weights is None else weights
            self.held.add(torch.cat([features.to(y.dtype), weight[:, None]], dim=1), y)
        self.weight = None

    def multi_hot(self, labels: Tensor) -> Tensor:
        """Integer labels (n,) -> (n, classes) 0/1; other labels are unchanged."""
        if labels.ndim != 1 or labels.is_floating_point():
            return labels
        columns = torch.arange(self.n_classes, device=labels.device)
        return (labels[:, None] == columns).long()

    def targets(self, inputs: Tensor, labels: Tensor, annotated: Tensor | None = None) -> Tensor:
        """Targets (batch, classes): annotated labels, pseudo-labels of earlier classes, else 0."""
        known = self._annotated(labels, annotated)
        y = labels.to(self.count.dtype).masked_fill(~known, 0)
        if self.pseudo is None:
            return y
        present = torch.sigmoid(inputs @ self.settled_weight) > self.pseudo
        return y + (present & self.settled & ~known)

    def class_weights(self) -> Tensor:
        """(classes,) v, proportional to count^-1/2 with mean 1 over the classes met so far."""
        u = torch.where(self.seen, self.count.clamp(min=1).rsqrt(), 0)
        return self.met.sum() * u / u.sum().clamp(min=torch.finfo(u.dtype).tiny)

    def sample_weights(self, y: Tensor) -> Tensor | None:
        """(batch,) mean class weight of each sample's positives in y; None: all equal."""
        if self.weights == "none":
            return None
        return y @ self.class_weights() / y.sum(dim=1).clamp(min=1)

    @torch.no_grad()
    def settle(self) -> None:
        """Use the current solution for pseudo-labels of all classes met so far."""
        if self.pseudo is None:
            return
        self.settled.copy_(self.met)
        self.settled_weight.copy_(self.solution())

    def held_inputs(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Inputs, targets and weights of the held-out sample."""
        weighed, targets = self.held.samples
        return self.statistics.inputs(weighed[:, :-1]), targets, weighed[:, -1]

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> scores (batch, classes) float32, 0 for unseen classes."""
        with torch.autocast(features.device.type, enabled=False):
            scores = self._scores(features.to(self.count.dtype)).float()
        return scores.masked_fill(~self.seen, 0)

    def _attempt(self) -> tuple[Tensor, Tensor]:
        if self.sample is None:
            return super()._attempt()
        self.chosen = self._best_ridge(self.sample)
        return self.statistics.attempt(self.chosen)

    def _best_ridge(self, sample: BottomK) -> Tensor:
        features, labels = sample.samples
        inputs, labels = self.statistics.inputs(features), labels.to(self.count.dtype)
        scale = self.statistics.gram.diagonal().mean()
        if not len(labels):
            return torch.ones_like(scale)
        targets = (labels > 0).to(inputs.dtype)

        def error(exponent: float) -> float:
            scores = self.statistics.leave_one_out(inputs, targets, scale * 10**exponent)
            return -float(average_precision(scores, targets, labels == 0).nanmean())

        return scale * 10 ** (least(error, start=0.0) if bool(targets.any()) else 0.0)

    def _leave_one_out(self, x: Tensor, labels: Tensor) -> Tensor:
        y = (self.multi_hot(labels) > 0).to(x.dtype)
        self.solution()
        ridge = self.ridge if self.sample is None else self.chosen
        scores = self.statistics.leave_one_out(self.statistics.inputs(x), y, ridge)
        return scores.masked_fill(~self.seen, 0)

    def _annotated(self, labels: Tensor, annotated: Tensor | None) -> Tensor:
        if annotated is None:
            return torch.ones_like(labels, dtype=torch.bool)
        return annotated.expand(labels.shape)
