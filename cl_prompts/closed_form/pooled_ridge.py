"""Class-balanced ridge regression from one pooled scatter and the class means."""

from typing import Literal

import torch
from torch import Tensor

from cl_prompts.closed_form.leave_one_out import LeaveOneOut, scores_of
from cl_prompts.closed_form.ridge import attempt_positive
from cl_prompts.closed_form.shrinkage import ridge_by_evidence
from cl_prompts.closed_form.streaming_lda import PooledScatter

#: Rules that compute a ridge; settings accept them besides numbers.
FoundRidge = Literal["evidence"] | LeaveOneOut


class RidgedScatter(PooledScatter):
    """Base of classifiers on a pooled scatter with a relative ridge.

    Args:
        ridge: relative to a scale of the subclass; ``"evidence"`` and ``"leave_one_out"``: that of
            :class:`PooledRidge`.

    Example:
        >>> RidgedScatter(16, n_classes=3).relative
        'evidence'
    """

    forms = ("ridge",)
    ridge: Tensor
    """Ridge of the last solution, absolute."""

    def __init__(self, dim: int, n_classes: int, *, ridge: float | FoundRidge = "evidence") -> None:
        super().__init__(dim, n_classes, chooses=ridge == "leave_one_out")
        self.relative = ridge
        self.register_buffer("ridge", torch.zeros((), dtype=torch.float64), persistent=False)

    def update_ridge(self, scale: Tensor) -> None:
        """Compute the ridge from the sums; a number is relative to ``scale``."""
        if self.relative == "leave_one_out":
            self.ridge.copy_(self.choose().strength)
        elif isinstance(self.relative, str):
            a, b = balanced_system(self)
            # Every sample has one label, so the mean square of labels is 1.
            found = ridge_by_evidence(a, b, a.new_ones(()), balanced_size(self.count))
            self.ridge.copy_(found)
        else:
            self.ridge.copy_(self.relative * scale)


class PooledRidge(RidgedScatter):
    """Class-balanced ridge regression with one covariance within classes.

    With inputs ``x = [f, 1]``, N samples, K seen classes, their means mu_c and ``Sw = (sum_i x_i'
    x_i - sum_c n_c mu_c' mu_c) / N``: ``A = Sw + sum_c mu_c' mu_c / K``, ``B = [mu_c / K]``, ``W =
    (A + r mean(diag A) I)^-1 B`` for the ridge r, scores ``x W``. Order and batches do not matter.

    Least squares on one-hot labels with class weights 1 / n_c has the same B, but each class's own
    scatter over its count instead of Sw, as
    :class:`~cl_prompts.closed_form.balanced_ridge.BalancedRidge` (AIR). Pooling reduces memory to
    dim^2 + dim x classes numbers, as for streaming LDA. Not a published method under this name.

    Args:
        ridge: r, relative to the mean square of an input; ``"evidence"``: computed at each solution
            for a stream of :func:`balanced_size`, see
            :func:`~cl_prompts.closed_form.shrinkage.ridge_by_evidence`; ``"leave_one_out"``: see
            :func:`~cl_prompts.closed_form.leave_one_out.choose`.

    Example:
        >>> ridge = PooledRidge(2, n_classes=3)
        >>> labels = torch.arange(100) % 2
        >>> ridge.update(torch.randn(100, 2) + 9 * labels[:, None], labels)
        >>> ridge(torch.tensor([[8.0, 8.0]])).argmax(dim=1)
        tensor([1])
    """

    leaves_one_out = True

    def _attempt(self) -> tuple[Tensor, Tensor]:
        a, b = balanced_system(self)
        self.update_ridge(a.diagonal().mean())
        # W = (A + r mean(diag A) I)^-1 B
        a.diagonal().add_(self.ridge)
        return attempt_positive(a, b)

    def _scores(self, x: Tensor) -> Tensor:
        weight = self.solution()
        return x @ weight[:-1] + weight[-1]

    def _leave_one_out(self, x: Tensor, labels: Tensor) -> Tensor:
        self.solution()
        return scores_of(self.sums, x, labels, self.ridge, self.forms)["ridge"]


def balanced_system(sums: PooledScatter) -> tuple[Tensor, Tensor]:
    """A (dim + 1, dim + 1) and B (dim + 1, classes) of :class:`PooledRidge`."""
    seen, n = sums.seen, sums.count.sum().clamp(min=1)
    k = seen.sum().clamp(min=1)
    # The constant 1 does not vary, and its mean is 1 in each class.
    means = torch.cat([sums.mean, seen[:, None].to(sums.mean.dtype)], dim=1)
    a = means.T @ means / k
    a[:-1, :-1] += sums.scatter / n
    return a, means.T / k


def balanced_size(count: Tensor) -> Tensor:
    """Scalar K (prod_c n_c)^(1/K) of counts (classes,): samples of the equivalent balanced stream.

    Its classes are equally frequent and have the same geometric mean count. All N samples would
    overstate the information, since rare classes weigh as much and have noisy means; the effective
    size of weighted samples (Kish, Survey Sampling, 1965), ``K^2 / sum_c 1/n_c``, depends on the
    rarest class alone. The geometric mean lies between them, and equals both for balanced classes.
    """
    k = (count > 0).sum().clamp(min=1)
    # log 1 = 0 for unseen classes
    return k * (count.clamp(min=1).log().sum() / k).exp()
