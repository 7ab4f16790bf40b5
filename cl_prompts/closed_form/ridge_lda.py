"""Pool of LDA and class-balanced ridge regression, whose strength leave-one-out scores choose."""

import torch
from torch import Tensor

from cl_prompts.closed_form.leave_one_out import scores_of
from cl_prompts.closed_form.ridge import attempt_positive
from cl_prompts.closed_form.streaming_lda import PooledScatter


class RidgeLDA(PooledScatter):
    """Pool of linear discriminant analysis and class-balanced ridge regression.

    Both are linear classifiers of one system: with class means mu_c, the covariance Sw within
    classes and ``P = Sw + a I``, LDA scores ``x P^-1 mu_c - mu_c P^-1 mu_c / 2``, and the ridge
    regression is that of :class:`~cl_prompts.closed_form.pooled_ridge.PooledRidge` at the absolute
    ridge a. Scores divided by their temperatures (Guo et al., ICML 2017) are added, which is the
    logarithmic opinion pool with equal weights (Genest and Zidek, Statistical Science 1986), and
    divided by the pool's temperature: ``softmax`` of the scores is calibrated.

    The strength a and the temperatures have the least cross-entropy on leave-one-out scores of a
    sample of 500 features, see :func:`~cl_prompts.closed_form.leave_one_out.choose`. The sample
    does not depend on the order of the stream, so neither do scores. After a subtraction it lacks
    the samples that left. Not a published method.

    Memory: dim^2 + dim x classes numbers in float64, as for one covariance, and the sample, 500
    (dim + classes) in float32. A solution takes about eight factorisations.

    Example:
        >>> pool = RidgeLDA(2, n_classes=3)
        >>> labels = torch.arange(100) % 2
        >>> pool.update(torch.randn(100, 2) + 9 * labels[:, None], labels)
        >>> pool(torch.tensor([[8.0, 8.0]])).argmax(dim=1)
        tensor([1])
    """

    leaves_one_out = True
    forms = ("lda", "ridge")
    regulariser = "strength"

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__(dim, n_classes, chooses=True)

    @property
    def strength(self) -> str:
        """The rule, for errors."""
        return "leave_one_out"

    def _attempt(self) -> tuple[Tensor, Tensor]:
        chosen = self.choose()
        a, one = chosen.strength, self.seen.to(self.mean.dtype)
        k = one.sum().clamp(min=1)
        system = self.scatter / self.count.sum().clamp(min=1)
        system.diagonal().add_(a)
        solved, info = attempt_positive(system, self.mean.T)
        # H = M P^-1 M'
        h = self.mean @ solved
        lda = torch.cat([solved, -h.diagonal()[None] / 2])
        # With a constant 1, by Woodbury: P^-1 M' (K I + H + 1'1 / a)^-1
        inner = h + torch.outer(one, one) / a
        inner.diagonal().add_(k)
        ridge = torch.linalg.solve(inner, torch.cat([solved, one[None] / a]), left=False)
        return chosen.pooled([lda, ridge]), info

    def _scores(self, x: Tensor) -> Tensor:
        weight = self.solution()
        return x @ weight[:-1] + weight[-1]

    def _leave_one_out(self, x: Tensor, labels: Tensor) -> Tensor:
        self.solution()
        chosen = self.choose()
        found = scores_of(self.sums, x, labels, chosen.strength, self.forms)
        return chosen.pooled(found.values())
