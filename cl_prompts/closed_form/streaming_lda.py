"""Classifiers on class means and one pooled scatter: streaming LDA."""

from typing import ClassVar

import torch
from torch import Tensor

from cl_prompts.closed_form.bottom_k import BottomK
from cl_prompts.closed_form.leave_one_out import (
    SAMPLED,
    Choice,
    Form,
    LeaveOneOut,
    PooledSums,
    choose,
    scores_of,
)
from cl_prompts.closed_form.prototype_classifiers import SolvedClassifier
from cl_prompts.closed_form.ridge import RandomExpansion, attempt_positive
from cl_prompts.closed_form.shrinkage import ByRule, ShrinkageForm, shrunk, terms


class PooledScatter(SolvedClassifier):
    """Base of solved classifiers on class means and one pooled scatter.

    The scatter of every sample about the final mean of its class is exact (pairwise update of Chan,
    Golub and LeVeque, 1979).

    Args:
        expansion: random features, or None.
        chooses: whether leave-one-out scores of a sample choose the strength of regularisation.

    Example:
        >>> tuple(PooledScatter(16, n_classes=3).scatter.shape)
        (16, 16)
    """

    class_axes: ClassVar = {**SolvedClassifier.class_axes, "mean": 0}
    forms: ClassVar[tuple[Form, ...]] = ()
    """What leave-one-out scores."""
    chosen: Choice | None = None
    """Of the last solution."""
    keeps_choice = False
    """Whether the next solutions have the same strength: one factorisation each."""
    mean: Tensor
    scatter: Tensor

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        expansion: RandomExpansion | None = None,
        chooses: bool = False,
    ) -> None:
        super().__init__(dim, n_classes)
        self.expansion = expansion
        self.held = BottomK(SAMPLED, dim, n_classes) if chooses else None
        size = dim if expansion is None else expansion.width
        self.register_buffer("mean", torch.zeros(n_classes, size, dtype=torch.float64))
        self.register_buffer("scatter", torch.zeros(size, size, dtype=torch.float64))

    def inputs(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> inputs of the statistics, random features if any."""
        return features if self.expansion is None else self.expansion(features)

    @property
    def sums(self) -> PooledSums:
        """Counts, means and scatter."""
        return PooledSums(self.count, self.mean, self.scatter)

    def choose(self) -> Choice:
        """Choose the strength by the sample, see
        :func:`~cl_prompts.closed_form.leave_one_out.choose`; or keep the last choice."""
        outdated = self.weight is None and not self.keeps_choice
        if self.chosen is None or outdated:
            assert self.held is not None
            features, onehot = self.held.samples
            x = self.inputs(features.to(self.count.dtype))
            self.chosen = choose(self.sums, x, onehot.argmax(dim=1), self.forms)
        return self.chosen

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        if self.held is not None:
            self.held.add(x, onehot)
        if self.expansion is not None:
            self.expansion.fit(x)
        x = self.inputs(x)
        n = onehot.sum(dim=0)
        # class means of the batch, and each sample's difference to its own
        batch_mean = onehot.T @ x / n.clamp(min=1)[:, None]
        total = (self.count + n).clamp(min=1)
        inside = x - onehot @ batch_mean
        shift = batch_mean - self.mean
        # Chan et al.: scatter within the batch, plus n N / (n + N) (shift shift^T) for each class.
        self.scatter.addmm_(inside.T, inside)
        between = self._between(self.count, n, total)
        self.scatter.addmm_((shift * between[:, None]).T, shift)
        self.mean += shift * (n / total)[:, None]
        self.weight = None

    def _between(self, before: Tensor, n: Tensor, total: Tensor) -> Tensor:
        """Weight of each class mean's squared shift in the scatter, from counts."""
        return before * n / total


class StreamingLDA(PooledScatter):
    """Streaming linear discriminant analysis (Hayes and Kanan, CVPR-W 2020).

    arXiv 1909.01520. With class means mu_c, one covariance S of all classes and L = ((1 -
    shrinkage) S + shrinkage I)^-1, class c scores ``x L mu_c - mu_c L mu_c / 2``, without class
    priors and relative to the best seen class, which scores 0.

    Deviation: the paper's update of S depends on the order of samples; here S is exact, so that
    streaming and batch solution agree. Nothing is initialised from a base phase. On Fourier
    features it is the analysis in the space of a Gaussian kernel (KLDA, RanDumb).

    Args:
        shrinkage: positive, at most 1 for the form ``"share"``; ``"oas"`` computes it from S, see
            :func:`~cl_prompts.closed_form.shrinkage.terms`; ``"leave_one_out"`` adds the
            multiple of I that :func:`~cl_prompts.closed_form.leave_one_out.choose` chooses.
        shrinkage_form: of a number, see :data:`~cl_prompts.closed_form.shrinkage.ShrinkageForm`.
        floor: share of the identity that is mixed in afterwards, as in RanDumb.
        expansion: random features, or None.

    Example:
        >>> lda = StreamingLDA(2, n_classes=3)
        >>> labels = torch.arange(100) % 2
        >>> lda.update(torch.randn(100, 2) + 9 * labels[:, None], labels)
        >>> lda(torch.tensor([[8.0, 8.0]])).argmax(dim=1)
        tensor([1])
    """

    regulariser = "shrinkage"
    leaves_one_out = True
    forms = ("lda",)

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        shrinkage: float | ByRule | LeaveOneOut = 1e-4,
        shrinkage_form: ShrinkageForm = "share",
        floor: float = 0.0,
        expansion: RandomExpansion | None = None,
    ) -> None:
        chooses = shrinkage == "leave_one_out"
        super().__init__(dim, n_classes, expansion=expansion, chooses=chooses)
        self.shrinkage = shrinkage
        self.shrinkage_form = shrinkage_form
        self.floor = floor

    def _attempt(self) -> tuple[Tensor, Tensor]:
        system = self._system()
        if self.floor:
            # RanDumb: (1 - floor) Sigma + floor I
            system.mul_(1 - self.floor).diagonal().add_(self.floor)
        # The weight is L mu_c.
        return attempt_positive(system, self.mean.T)

    def _system(self) -> Tensor:
        # L^-1 = (1 - e) S + e I, or another form
        return shrunk(self.scatter, self.count.sum(), *self._shrinkage())

    def _shrinkage(self) -> tuple[float | Tensor | ByRule, ShrinkageForm]:
        if self.shrinkage == "leave_one_out":
            return self.choose().strength, "added"
        return self.shrinkage, self.shrinkage_form

    def _leave_one_out(self, x: Tensor, labels: Tensor) -> Tensor:
        self.solution()
        weight, added = terms(self.scatter, self.count.sum(), *self._shrinkage())
        strength = x.new_ones(()) * ((1 - self.floor) * added + self.floor)
        weight = (1 - self.floor) * weight
        found = scores_of(self.sums, self.inputs(x), labels, strength, self.forms, weight)
        return self._relative(found["lda"])

    def _scores(self, x: Tensor) -> Tensor:
        x = self.inputs(x)
        weight = self.solution()
        # x L mu_c - mu_c L mu_c / 2
        scores = x @ weight - (self.mean.T * weight).sum(dim=0) / 2
        return self._relative(scores)
