"""Streaming centring, standardisation or whitening of the head's input."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from cl_prompts.closed_form.shrinkage import ByRule, shrunk

HeadInput = Literal["centred", "standardised", "whitened"]

VARIANCE_EPS = 1e-5


class FeatureWhitening(nn.Module):
    """Streaming, label-free normalisation of the head's input.

    On a frozen ViT all features share a large common vector, and a few directions carry most of the
    remaining variance. Along the common vector a cross-entropy step raises the current classes and
    lowers all others: most of the recency bias of a trained head. With mean m, scatter S and number
    n of the features so far, a feature f becomes

    * ``centred``: ``f - m``;
    * ``standardised``: ``(f - m) / sqrt(diag(S) / n + 1e-5)``;
    * ``whitened``: ``(f - m) P`` with ``P = (S / n + shrinkage * mean(diag(S / n)) I)^(-1/2)``, the
      symmetric root.

    For a linear head this is preconditioned gradient descent: raw features give the same logits
    with the weight ``W P`` and the bias ``b - W P m``. The closest published method is MePo (arXiv
    2602.07940); docs/reference/whitened_head.md has the differences and older relatives.

    :meth:`update` adds a training batch before :meth:`forward` transforms it; within
    :meth:`update_statistics` the next forward pass does both. Evaluation never updates, so
    predictions do not depend on other samples of the batch. The mean is always current; P is
    recomputed after stream batches 1, 2 and 4 and every ``refresh`` batches. Sums use the pairwise
    update of Chan, Golub and LeVeque (1979) in float64 (float32 on devices without it), so batch
    sizes do not matter.

    Args:
        dim: feature width.
        head_input: see above.
        shrinkage: towards a multiple of the identity, positive. 1 was best or equal on every stream
            tried; smaller values amplify directions with little data. ``"oas"`` computes it from S
            and n, see :func:`~cl_prompts.closed_form.shrinkage.terms`.
        refresh: stream batches between two updates of P.
        window: forget: all samples together weigh as much as this many at most (or as the last
            batch, if larger); None keeps all. Meant for features that drift; it gained nothing
            where it was tried.

    Example:
        >>> features = torch.randn(200, 3) * torch.tensor([9.0, 1.0, 1.0]) + 5
        >>> whitening = FeatureWhitening(3, "whitened", shrinkage=1e-3)
        >>> whitening.update(features)
        >>> bool((whitening(features).T.cov() - torch.eye(3)).abs().max() < 0.05)
        True
    """

    count: Tensor
    mean: Tensor
    scatter: Tensor
    root: Tensor

    def __init__(
        self,
        dim: int,
        head_input: HeadInput = "whitened",
        *,
        shrinkage: float | ByRule = 1.0,
        refresh: int = 5,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.head_input = head_input
        self.shrinkage = shrinkage
        self.refresh = refresh
        self.window = window
        self.batches = 0
        self._due: tuple[int | None, bool] | None = None
        # fp64: on a long stream each batch is a small part of the sums.
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        if head_input == "standardised":
            self.register_buffer("scatter", torch.zeros(dim, dtype=torch.float64))
        if head_input == "whitened":
            self.register_buffer("scatter", torch.zeros(dim, dim, dtype=torch.float64))
            self.register_buffer("root", torch.eye(dim))

    @torch.no_grad()
    def update(self, features: Tensor, *, repeated: bool = False) -> None:
        """Add a training batch to the statistics.

        Args:
            features: (batch, dim), any float type; detached.
            repeated: a further update on the same stream batch (``online_iter`` > 1), which does
                not count for ``refresh``.
        """
        if len(features) == 0:
            return
        with torch.autocast(features.device.type, enabled=False):
            self._update(features.detach().to(self.mean.dtype))
            if repeated:
                return
            self.batches += 1
            # An inverse root costs dim^3: it is frequent only while statistics change fast.
            due = self.batches in (1, 2, 4) or self.batches % self.refresh == 0
            if due and self.head_input == "whitened":
                self.root.copy_(inverse_root(self.system()))

    @contextmanager
    def update_statistics(
        self, rows: int | None = None, *, repeated: bool = False
    ) -> Iterator[None]:
        """Context in which the next forward pass first adds its features.

        Args:
            rows: number of the batch's first features to add; None: all.
            repeated: see :meth:`update`.
        """
        self._due = rows, repeated
        try:
            yield
        finally:
            self._due = None

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> input of the head, (batch, dim) fp32.

        Gradient flows to the features, not into the statistics.
        """
        if self._due is not None:
            rows, repeated = self._due
            self._due = None  # a second pass of the same update adds nothing
            self.update(features[:rows], repeated=repeated)
        with torch.autocast(features.device.type, enabled=False):
            # In the statistics' precision: f and m are large against their difference.
            centred = (features.to(self.mean.dtype) - self.mean).float()
            if self.head_input == "standardised":
                return centred / self._deviation()  # (f - m) / sqrt(diag(S) / n + 1e-5)
            if self.head_input == "centred":
                return centred
            # (f - m) P; a copy, since P may change before the backward pass reads it
            return centred @ self.root.clone()

    def system(self) -> Tensor:
        """(dim, dim) ``S / n + shrinkage * mean(diag(S / n)) I``, whose inverse root is P.

        A rule replaces the number. A mean variance of 0 counts as 1.
        """
        return shrunk(self.scatter, self.count, self.shrinkage)

    def get_extra_state(self) -> Tensor:
        """Number of stream batches, for the ``state_dict``."""
        return torch.tensor(self.batches)

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.batches = int(state)

    def _update(self, x: Tensor) -> None:
        n = len(x)
        if self.window is not None:
            # Older samples lose weight so that all together weigh as much as the window.
            keep = ((self.window - n) / self.count.clamp(min=1)).clamp(min=0, max=1)
            self.count *= keep
            if self.head_input != "centred":
                self.scatter *= keep
        # Chan et al.: scatter within the batch, plus n N / (n + N) (shift shift')
        batch_mean = x.mean(dim=0)
        total = self.count + n
        shift = batch_mean - self.mean
        if self.head_input != "centred":
            inside = x - batch_mean
            between = self.count * n / total
            if self.head_input == "standardised":
                self.scatter += inside.square().sum(dim=0) + shift.square() * between
            else:
                self.scatter.addmm_(inside.T, inside)
                self.scatter += torch.outer(shift, shift) * between
        # m += n / (n + N) shift
        self.mean += shift * (n / total)
        self.count.copy_(total)

    def _deviation(self) -> Tensor:
        variance = self.scatter / self.count.clamp(min=1) + VARIANCE_EPS
        return torch.where(self.count > 0, variance.sqrt(), torch.ones_like(variance)).float()


@torch.no_grad()
def inverse_root(matrix: Tensor) -> Tensor:
    """Compute the symmetric inverse square root of a positive definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    # Rounding may leave a negative eigenvalue.
    floor = torch.finfo(matrix.dtype).eps * values[-1]
    return (vectors * values.clamp(min=floor).rsqrt()) @ vectors.T
