"""MePo's alignment of features to a reference covariance, batch by batch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.errors import RunError

#: Added to the diagonals of both covariances, as published.
JITTER = 1e-4


def aligned(features: Tensor, target: Tensor, *, coefficient: float = 1.0) -> Tensor:
    """MePo's alignment of a batch (2026, arXiv 2602.07940), as released.

    With the mean m and the unbiased covariance S of the batch, ``x = f - m``, and lower Cholesky
    factors L of S and M of the target, both with 1e-4 on the diagonal: ``a = x L^-1 M``, whose
    covariance is not the target; that of ``x L^-T M^T`` would be. The result is ``(1 - c) f + c a /
    |a|``. Gradient flows through m and S, too. Computed in float64, since Cholesky factors amplify
    rounding.

    Args:
        features: f (batch, dim), at least two.
        target: covariance (dim, dim).
        coefficient: c; published 0.5, and 0 for some methods.

    Returns:
        (batch, dim) in the features' type.

    Example:
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> tuple(aligned(x, torch.eye(3)).shape)
        (500, 3)
    """
    a = directions(features, target)
    blended = (1 - coefficient) * features.to(a.dtype) + coefficient * F.normalize(a, dim=1)
    return blended.to(features.dtype)


def directions(features: Tensor, target: Tensor) -> Tensor:
    """(batch, dim) the aligned features a of :func:`aligned`, before unit norm and blend."""
    f = features.double()
    # x = f - mean, with L L^T its covariance and M M^T the target
    x = f - f.mean(dim=0)
    own = _factor(torch.cov(f.T))
    reference = _factor(target.to(f))
    # a = x L^-1 M
    return torch.linalg.solve_triangular(own, x, upper=False, left=False) @ reference


def _factor(matrix: Tensor) -> Tensor:
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.cholesky(matrix + JITTER * identity)


class BatchAlignment(nn.Module):
    """MePo's alignment before a head by the statistics of each batch, for comparison.

    **Predictions depend on other samples of the batch, also in tests.** The reference is the
    release's streamed one, ``R <- k R + (1 - k) cov(f)`` with every batch, starting with the
    covariance of the first batch, which is not changed. Evaluation updates R as well, so
    predictions depend on the number of evaluations.

    Args:
        dim: feature width.
        coefficient: c, see :func:`aligned`.

    Example:
        >>> alignment = BatchAlignment(3)
        >>> first, second = torch.randn(2, 8, 3)
        >>> torch.equal(alignment(first), first), torch.equal(alignment(second), second)
        (True, False)
    """

    reference: Tensor
    momentum = 0.5
    """k, as published."""

    def __init__(self, dim: int, *, coefficient: float = 0.5) -> None:
        super().__init__()
        self.coefficient = coefficient
        self.in_evaluation = True
        """Whether features are aligned in evaluation, too."""
        self.started = False
        self.register_buffer("reference", torch.zeros(dim, dim, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> input of the head (batch, dim).

        Raises:
            RunError: a batch of one.
        """
        if not self.training and not self.in_evaluation:
            return features
        if len(features) < 2:
            raise RunError(
                "a batch of one image has no covariance to align. Choose batch sizes that leave"
                " more for the last batch"
            )
        with torch.autocast(features.device.type, enabled=False):
            with torch.no_grad():
                own = torch.cov(features.double().T)
                # R <- k R + (1 - k) cov(f), from the first covariance
                k = self.momentum if self.started else 0
                self.reference.copy_(k * self.reference + (1 - k) * own)
            if not self.started:
                self.started = True
                return features
            # A copy, since R may change before the backward pass reads it.
            return aligned(features, self.reference.clone(), coefficient=self.coefficient)

    def get_extra_state(self) -> Tensor:
        """Whether there is a reference, for the ``state_dict``."""
        return torch.tensor(int(self.started))

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.started = bool(state)
