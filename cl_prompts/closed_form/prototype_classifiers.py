"""Classifiers without gradients: statistics of frozen features, exact on a stream.

``update(features, labels)`` adds a batch; ``logits(features)`` scores with the statistics so far,
-inf for classes without a sample. The result depends neither on the order of samples nor on the
batches. The whole state is buffers of fixed size in float64. ``classifier.float()`` serves devices
without float64 (Apple's MPS), and halves the memory.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.checks import whole_number
from cl_prompts.closed_form.ridge import check_solved
from cl_prompts.closed_form.sums import combine
from cl_prompts.errors import InputError

Metric = Literal["cosine", "euclidean"]


class PrototypeClassifier(nn.Module):
    """Base of the classifiers without gradients; all have these arguments.

    Args:
        dim: feature width.
        n_classes: columns of the logits.

    Example:
        >>> PrototypeClassifier(16, n_classes=3).seen.tolist()
        [False, False, False]
    """

    class_axes: ClassVar = {"count": 0}
    summed: ClassVar[tuple[str, ...]] = ("count",)
    derived: ClassVar[tuple[str, ...]] = ()
    """Buffers computed from the statistics when needed: not saved, None while outdated."""
    count: Tensor
    sorts: bool = False
    """Whether an update sorts by class: labels on the CPU then avoid a GPU synchronisation."""

    leaves_one_out: bool = False
    """Whether :meth:`leave_one_out` has a formula."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.dim = dim
        self.n_classes = n_classes
        self.register_buffer("count", torch.zeros(n_classes, dtype=torch.float64))
        for name in self.derived:
            self.register_buffer(name, None, persistent=False)
        self.register_load_state_dict_post_hook(_forget_derived)

    @property
    def seen(self) -> Tensor:
        """(classes,) boolean: classes with at least one sample."""
        return self.count > 0

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, annotated: Tensor | None = None) -> None:
        """Add a batch to the statistics.

        Args:
            features: (batch, dim), any float type.
            labels: (batch,) integer classes, on the features' device or the CPU.
            annotated: known entries of several labels per image, else not read.

        Raises:
            InputError: a label outside the columns (checked only for labels on the CPU).
        """
        if labels.device.type == "cpu" and len(labels):
            for label in (int(labels.min()), int(labels.max())):
                whole_number("a label", label, 0, self.n_classes - 1, of="n_classes - 1")
        # A one-hot product instead of index_add: deterministic on GPUs, without synchronisation.
        columns = torch.arange(self.n_classes, device=features.device)
        onehot = (labels.to(features.device)[:, None] == columns).to(self.count.dtype)
        with torch.autocast(features.device.type, enabled=False):
            self._update(features.to(self.count.dtype), onehot, labels)
            self.count += onehot.sum(dim=0)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Score features (batch, dim) of any float type.

        Args:
            features: (batch, dim).

        Returns:
            (batch, classes) float32, -inf for unseen classes.

        Raises:
            RunError: a linear system cannot be solved.
        """
        return self.scores(features).float()

    @torch.no_grad()
    def scores(self, features: Tensor) -> Tensor:
        """:meth:`logits` in the precision of the statistics."""
        with torch.autocast(features.device.type, enabled=False):
            scores = self._scores(features.to(self.count.dtype))
            return scores.masked_fill(~self.seen, -torch.inf)

    def forward(self, features: Tensor) -> Tensor:
        """The same as :meth:`logits`."""
        return self.logits(features)

    @torch.no_grad()
    def leave_one_out(self, features: Tensor, labels: Tensor) -> Tensor:
        """Score learned samples, each as if it had never been learned, all else unchanged.

        Args:
            features: (n, dim) of samples that were added.
            labels: (n,) their classes; (n, classes) 0/1 with several labels per image.

        Returns:
            (n, classes) in the precision of the statistics; -inf for unseen classes, NaN in the row
            of a sample that is alone in its class.

        Raises:
            InputError: the classifier has no such formula.
        """
        if not self.leaves_one_out:
            name = type(self).__name__
            raise InputError(f"{name} has no leave-one-out scores: use recommended, slda or ncm")
        with torch.autocast(features.device.type, enabled=False):
            return self._leave_one_out(features.to(self.count.dtype), labels.to(features.device))

    def _leave_one_out(self, x: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError

    def settle(self) -> None:
        """End a task."""

    def add(self, other: PrototypeClassifier) -> None:
        """Add the sums of a classifier trained on other samples; see
        :func:`~cl_prompts.closed_form.sums.combine`."""
        combine(self, other, 1)

    def subtract(self, other: PrototypeClassifier) -> None:
        """Subtract the sums of a classifier trained on some of the samples; see
        :func:`~cl_prompts.closed_form.sums.combine`."""
        combine(self, other, -1)

    def combined(self, other: PrototypeClassifier | None, sign: int) -> None:
        """Compute derived buffers anew after sums were combined or reset."""
        _forget_derived(self, None)

    def grown(self) -> None:
        """Update the number of columns."""
        self.n_classes = len(self.count)

    def _relative(self, scores: Tensor) -> Tensor:
        # Relative to the best seen class: raw scores reach tens of thousands, where float32 has
        # steps of 0.004 and the finite score of unseen classes would win.
        return scores - scores.masked_fill(~self.seen, float("-inf")).amax(dim=1, keepdim=True)

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        """Add a batch, before ``count`` does."""
        raise NotImplementedError

    def _scores(self, x: Tensor) -> Tensor:
        raise NotImplementedError


def _forget_derived(module: PrototypeClassifier, _: object) -> None:
    for name in module.derived:
        setattr(module, name, None)


class NearestClassMean(PrototypeClassifier):
    """Nearest class mean (Mensink et al., TPAMI 2013).

    With frozen ViTs: Janson et al., 2022, arXiv 2210.04428. Means are of unnormalised features.

    Args:
        metric: ``"cosine"`` scores by the cosine of feature and class mean, ``"euclidean"`` by
            minus the squared distance, relative to the best seen class, which scores 0.

    Example:
        >>> ncm = NearestClassMean(2, n_classes=3)
        >>> ncm.update(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        >>> ncm(torch.tensor([[0.0, 1.0]]))
        tensor([[0., 1., -inf]])
    """

    class_axes: ClassVar = {"count": 0, "mean": 0}
    leaves_one_out = True
    mean: Tensor

    def __init__(self, dim: int, n_classes: int, *, metric: Metric = "cosine") -> None:
        super().__init__(dim, n_classes)
        self.metric = metric
        self.register_buffer("mean", torch.zeros(n_classes, dim, dtype=torch.float64))

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        n = onehot.sum(dim=0)  # samples of each class in the batch
        total = (self.count + n).clamp(min=1)
        # mu_c += (sum of the batch's x - n_c mu_c) / N_c
        self.mean += (onehot.T @ x - n[:, None] * self.mean) / total[:, None]

    def _scores(self, x: Tensor) -> Tensor:
        if self.metric == "cosine":
            return F.normalize(x, dim=-1) @ F.normalize(self.mean, dim=-1).T
        # -|x - mu_c|^2 but for |x|^2, which all classes share
        return self._relative(2 * x @ self.mean.T - self.mean.square().sum(dim=1))

    def _leave_one_out(self, x: Tensor, labels: Tensor) -> Tensor:
        n, own = self.count[labels][:, None], self.mean[labels]
        # The mean of class c without x is mu_c - (x - mu_c) / (n - 1).
        mine = own - (x - own) / (n - 1)
        if self.metric == "cosine":
            score = (F.normalize(x, dim=-1) * F.normalize(mine, dim=-1)).sum(dim=1)
            scores = F.normalize(x, dim=-1) @ F.normalize(self.mean, dim=-1).T
        else:
            score = 2 * (x * mine).sum(dim=1) - mine.square().sum(dim=1)
            scores = 2 * x @ self.mean.T - self.mean.square().sum(dim=1)
        scores = scores.scatter(1, labels[:, None], score[:, None]).masked_fill(n < 2, torch.nan)
        scores = scores.masked_fill(~self.seen, -torch.inf)
        return scores if self.metric == "cosine" else self._relative(scores)


class SolvedClassifier(PrototypeClassifier):
    """Base of classifiers whose weight solves a linear system.

    ``weight`` (features, classes) is computed when scores are first needed after an update.

    Example:
        >>> SolvedClassifier(16, n_classes=3).weight is None  # no sample yet
        True
    """

    class_axes: ClassVar = {"count": 0, "weight": 1}
    derived: ClassVar[tuple[str, ...]] = ("weight",)
    weight: Tensor | None
    regulariser = "ridge"
    """Name of the attribute that makes the system positive definite."""

    def solution(self) -> Tensor:
        """The weight (features, classes) for all samples so far.

        Raises:
            RunError: the system is not positive definite to working precision.
        """
        if self.weight is None:
            weight, info = self._attempt()
            name, value = type(self).__name__, getattr(self, self.regulariser)
            check_solved(info, name, weight.dtype, self.regulariser, value)
            self.weight = weight
        return self.weight

    def _attempt(self) -> tuple[Tensor, Tensor]:
        """Solution and state of :func:`~cl_prompts.closed_form.ridge.attempt_positive`."""
        raise NotImplementedError
