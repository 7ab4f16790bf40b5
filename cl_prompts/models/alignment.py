"""MePo's alignment of features to a reference covariance, by batch and streamed."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.closed_form.whitening import (
    SINGLE_PRECISION_DEVICES,
    FeatureWhitening,
    inverse_root,
)
from cl_prompts.errors import RunError

BatchForm = Literal["corrected", "released"]
Alignment = Literal["streamed", "corrected", "released"]
Target = Literal["first", "identity"]

#: Added to the diagonals of both covariances, as published.
JITTER = 1e-4


def aligned(
    features: Tensor, target: Tensor, *, form: BatchForm = "corrected", coefficient: float = 1.0
) -> Tensor:
    """MePo's alignment of a batch (2026, arXiv 2602.07940).

    With the mean m and the unbiased covariance S of the batch, ``x = f - m``, and lower Cholesky
    factors L of S and M of the target, both with 1e-4 on the diagonal: ``a = x L^-T M^T``, whose
    covariance is the target (``"corrected"``), or the released code's ``a = x L^-1 M``, whose
    covariance is not (``"released"``). The result is ``(1 - c) f + c a / |a|``. Gradient flows
    through m and S, too. Computed in float64, since Cholesky factors amplify rounding.

    Args:
        features: f (batch, dim), at least two.
        target: covariance (dim, dim).
        coefficient: c; published 0.5, and 0 for some methods.

    Returns:
        (batch, dim) in the features' type.

    Raises:
        RunError: a batch of one, which has no covariance.

    Example:
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> tuple(aligned(x, torch.eye(3)).shape)
        (500, 3)
    """
    a = directions(features, target, form)
    blended = (1 - coefficient) * features.to(a.dtype) + coefficient * F.normalize(a, dim=1)
    return blended.to(features.dtype)


def directions(features: Tensor, target: Tensor, form: BatchForm = "corrected") -> Tensor:
    """(batch, dim) the aligned features a of :func:`aligned`, before unit norm and blend."""
    f = _double(features)
    # x = f - mean, with L L^T its covariance and M M^T the target
    x = f - f.mean(dim=0)
    own = _factor(covariance(f))
    reference = _factor(target.to(f))
    if form == "corrected":
        # a = x L^-T M^T
        return torch.linalg.solve_triangular(own, x.T, upper=False).T @ reference.T
    # a = x L^-1 M
    return torch.linalg.solve_triangular(own, x, upper=False, left=False) @ reference


def covariance(features: Tensor) -> Tensor:
    """Unbiased covariance (dim, dim) of features (batch, dim), in their type.

    Raises:
        RunError: a batch of one.
    """
    if len(features) < 2:
        raise RunError(
            "a batch of one image has no covariance to align. Choose batch sizes that leave more"
            " for the last batch, or alignment=streamed"
        )
    # (f - mean)^T (f - mean) / (n - 1)
    x = features - features.mean(dim=0)
    return x.T @ x / (len(x) - 1)


def _factor(matrix: Tensor) -> Tensor:
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.cholesky(matrix + JITTER * identity)


def _double(features: Tensor) -> Tensor:
    single = features.device.type in SINGLE_PRECISION_DEVICES
    return features.to(torch.float32 if single else torch.float64)


class BatchAlignment(nn.Module):
    """MePo's alignment before a head by the statistics of each batch, for comparison.

    **Predictions depend on other samples of the batch, also in tests.** Without a target the
    reference is the release's streamed one, ``R <- k R + (1 - k) cov(f)`` with every batch,
    starting with the covariance of the first batch, which is not changed. In the ``"released"``
    form evaluation updates R as well, so predictions depend on the number of evaluations.

    Args:
        dim: feature width.
        form: see :func:`aligned`.
        coefficient: c, see :func:`aligned`.
        target: constant covariance (dim, dim); None: R.

    Example:
        >>> alignment = BatchAlignment(3, "corrected")
        >>> first, second = torch.randn(2, 8, 3)
        >>> torch.equal(alignment(first), first), torch.equal(alignment(second), second)
        (True, False)
    """

    reference: Tensor
    momentum = 0.5
    """k, as published."""

    def __init__(
        self, dim: int, form: BatchForm, *, coefficient: float = 0.5, target: Tensor | None = None
    ) -> None:
        super().__init__()
        self.form = form
        self.coefficient = coefficient
        self.moves = target is None
        self.started = target is not None
        reference = torch.zeros(dim, dim, dtype=torch.float64) if target is None else target
        self.register_buffer("reference", reference.to(torch.float64))

    def update_statistics(
        self, rows: int | None = None, *, repeated: bool = False
    ) -> AbstractContextManager[None]:
        """Do nothing: statistics are of each batch."""
        return nullcontext()

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> input of the head (batch, dim)."""
        moved = self.moves and (self.training or self.form == "released")
        with torch.autocast(features.device.type, enabled=False):
            if moved:
                with torch.no_grad():
                    own = covariance(_double(features)).to(self.reference)
                    # R <- k R + (1 - k) cov(f), from the first covariance
                    k = self.momentum if self.started else 0
                    self.reference.copy_(k * self.reference + (1 - k) * own)
            if not self.started:
                self.started = moved
                return features
            # A copy, since R may change before the backward pass reads it.
            return aligned(
                features, self.reference.clone(), form=self.form, coefficient=self.coefficient
            )

    def get_extra_state(self) -> Tensor:
        """Whether there is a reference, for the ``state_dict``."""
        return torch.tensor(int(self.started))

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.started = bool(state)


class StreamedAlignment(FeatureWhitening):
    """Alignment to a reference covariance by streaming statistics, ``(f - m) P T``.

    m and P are those of :class:`~cl_prompts.closed_form.whitening.FeatureWhitening`. T is the
    symmetric root of the target, shrunk as S is and scaled to a mean variance of 1. Without unit
    norm, blend or labels; predictions do not depend on other samples of the batch. With the
    identity as target it is whitening, with the stream's own covariance centring.

    Args:
        dim: feature width.
        target: ``"first"``, the covariance of the first samples, or ``"identity"``.
        first: maximum number of these samples; the covariance is fixed at the last update of P
            before more have come. The first batch counts whatever its size. Must be below
            ``window``.
        **settings: of :class:`~cl_prompts.closed_form.whitening.FeatureWhitening`.

    Example:
        >>> features = torch.randn(500, 2) * torch.tensor([9.0, 1.0])
        >>> alignment = StreamedAlignment(2, shrinkage=1e-3)
        >>> alignment.update(features)
        >>> spread = alignment(features).std(dim=0)
        >>> bool(8 < spread[0] / spread[1] < 10)
        True
    """

    target_root: Tensor

    def __init__(
        self, dim: int, target: Target = "first", *, first: int = 1000, **settings: Any
    ) -> None:
        super().__init__(dim, "whitened", **settings)
        self.first = first if target == "first" else 0
        self.register_buffer("target_root", torch.eye(dim, dtype=torch.float64))

    def _new_root(self) -> Tensor:
        root = super()._new_root()
        if self.first:
            # torch.where instead of a branch, which would synchronise with a GPU
            own = self._root_of(self.system())
            known = (self.count > self.first) & (self.batches > 1)
            self.target_root.copy_(torch.where(known, self.target_root, own))
        return root @ self.target_root

    def _root_of(self, matrix: Tensor) -> Tensor:
        """Symmetric root of a covariance, scaled to a mean variance of 1."""
        matrix = matrix / matrix.diagonal().mean()
        # S^(1/2) = S S^(-1/2)
        return matrix @ inverse_root(matrix, self._least())
