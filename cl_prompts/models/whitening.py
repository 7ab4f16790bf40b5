"""Features made fit for a head that learns from a stream: centred, standardised or whitened by
statistics that stream along, without a label and without a buffer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cl_prompts.models.shrinkage import LEAST_OAS, ByRule, shrunk

HeadInput = Literal["centred", "standardised", "whitened"]

#: Devices without float64, on which statistics are kept in float32.
SINGLE_PRECISION_DEVICES = {"mps"}

VARIANCE_EPS = 1e-5


class FeatureWhitening(nn.Module):
    """Streaming, label-free normalisation of the features in front of a head.

    On a frozen ViT a large part of every feature is the same vector, and a few directions carry
    most of the rest. Along that common part a cross-entropy step pushes the head rows of the
    classes at hand up and all others down, which is most of the recency bias of a trained head.
    With the mean m, the scatter S and the number n of the features so far, a feature f becomes

    * ``centred``: ``f - m``;
    * ``standardised``: ``(f - m) / sqrt(diag(S) / n + 1e-5)``;
    * ``whitened``: ``(f - m) P`` with ``P = (S / n + shrinkage * mean(diag(S / n)) I)^(-1/2)``, the
      symmetric root.

    For a linear head this is gradient descent with a preconditioner. The closest published method
    on these streams is MePo (arXiv 2602.07940), which gives the features of a mini-batch a
    reference covariance; docs/reference/whitened_head.md has the differences and older relatives.

    :meth:`update` adds a training batch, before :meth:`forward` transforms it; within
    :meth:`update_statistics` the next forward pass does both. Evaluation never updates, so a
    prediction depends on no batch mates. The mean is always the current one; P is renewed after
    stream batches 1, 2 and 4 and after every ``refresh`` of them, since it changes slowly. Sums are
    pairwise (Chan, Golub and LeVeque, 1979) and in float64, or in float32 on devices that have
    no float64, so it does not matter how samples are cut into batches.

    With a linear head the transformed features give the same logits as raw features do with the
    weight ``W P`` and the bias ``b - W P m``.

    Args:
        dim: width of a feature.
        head_input: see above.
        shrinkage: towards a multiple of the identity, positive. 1 was best or equal on every
            stream tried; smaller values amplify directions that the stream has hardly shown.
            ``"oas"`` finds it from S and n, see :func:`~cl_prompts.models.shrinkage.shrunk_by_oas`.
        refresh: stream batches between two renewals of P.
        window: forget: statistics weigh as much as so many samples at most, or as the last batch
            where it is larger; None keeps all. Of use where features drift, as prompted ones do,
            though it brought nothing where it was tried.

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
        # Sums in fp64: of a long stream each batch is a small part of them.
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
            features: (batch, dim), any float type; their gradient is not followed.
            repeated: another update on the stream batch that came last (``online_iter`` > 1), which
                does not count as a batch for ``refresh``.
        """
        if len(features) == 0:
            return
        with torch.autocast(features.device.type, enabled=False):
            self._update(features.detach().to(self.mean.dtype))
            if repeated:
                return
            self.batches += 1
            # An inverse root costs dim^3: at first often, while statistics change fast.
            due = self.batches in (1, 2, 4) or self.batches % self.refresh == 0
            if due and self.head_input == "whitened":
                self.root.copy_(self._new_root())

    @contextmanager
    def update_statistics(
        self, rows: int | None = None, *, repeated: bool = False
    ) -> Iterator[None]:
        """Let the next forward pass in this context add its features before it transforms them.

        Args:
            rows: so many features of the batch, from the first on; None for all.
            repeated: see :meth:`update`.
        """
        self._due = rows, repeated
        try:
            yield
        finally:
            self._due = None

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> what the head reads, (batch, dim) fp32.

        Gradient flows to the features, not into the statistics. Before the first update features
        stay as they are.
        """
        if self._due is not None:
            rows, repeated = self._due
            self._due = None  # a second pass of the same update counts nothing twice
            self.update(features[:rows], repeated=repeated)
        with torch.autocast(features.device.type, enabled=False):
            # f - m, in the statistics' precision: the common part is large against what is left
            centred = (features.to(self.mean.dtype) - self.mean).float()
            if self.head_input == "standardised":
                return centred / self._deviation()  # (f - m) / sqrt(diag(S) / n + 1e-5)
            if self.head_input == "centred":
                return centred
            # (f - m) P; a copy, since the root may be renewed before the backward pass reads it
            return centred @ self.root.clone()

    def system(self) -> Tensor:
        """(dim, dim) ``S / n + shrinkage * mean(diag(S / n)) I``, of which P is the inverse root,
        or S / n shrunk by a rule.

        Where nothing has varied so far the mean variance counts as 1.
        """
        return shrunk(self.scatter, self.count, self.shrinkage)

    def get_extra_state(self) -> Tensor:
        """Stream batches so far, for the ``state_dict``."""
        return torch.tensor(self.batches)

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.batches = int(state)

    def _new_root(self) -> Tensor:
        return inverse_root(self.system(), self._least())

    def _least(self) -> float:
        """A bound on the shrinkage in :meth:`system`."""
        return LEAST_OAS if isinstance(self.shrinkage, str) else self.shrinkage

    def _update(self, x: Tensor) -> None:
        n = len(x)
        if self.window is not None:
            # Older samples are weighed down so that all together weigh as much as the window.
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
        # Before the first update there is nothing to divide by.
        return torch.where(self.count > 0, variance.sqrt(), torch.ones_like(variance)).float()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # fn moves a tensor: one without numbers shows where to. There is no float64 there.
        buffer = next(self.buffers(), None)
        if buffer is not None and fn(torch.empty(0)).device.type in SINGLE_PRECISION_DEVICES:
            for name, values in self.named_buffers():
                setattr(self, name, values.float())
        return super()._apply(fn, recurse)


@torch.no_grad()
def inverse_root(matrix: Tensor, shrinkage: float) -> Tensor:
    """The symmetric inverse square root of a covariance that was shrunk by ``shrinkage``.

    By eigenvalues on the CPU; elsewhere by :func:`newton_schulz`, which consists of products and
    never waits for the device.

    Args:
        matrix: (dim, dim), symmetric and positive definite, as :meth:`FeatureWhitening.system`.
        shrinkage: that went into it, or less; bounds its condition number.

    Returns:
        (dim, dim)
    """
    if matrix.device.type != "cpu":
        return newton_schulz(matrix, shrinkage)
    values, vectors = torch.linalg.eigh(matrix)
    # Rounding must not take the root of a negative number.
    floor = torch.finfo(matrix.dtype).eps * values[-1]
    return (vectors * values.clamp(min=floor).rsqrt()) @ vectors.T


@torch.no_grad()
def newton_schulz(matrix: Tensor, shrinkage: float) -> Tensor:
    """:func:`inverse_root` by the coupled Newton-Schulz iteration.

    ``Y <- Y T, Z <- T Z with T = (3 I - Z Y) / 2``, from ``Y = A / c`` and ``Z = I``, where c is
    the largest row sum of absolute values; Z converges to ``sqrt(c) A^(-1/2)``. The smallest
    eigenvalue of ``A / c`` is at least ``shrinkage / (sqrt(dim) (dim + shrinkage))`` and grows by
    9/4 a step until it is near 1, which fixes the number of steps in advance.

    Args and result as for :func:`inverse_root`.
    """
    dim = len(matrix)
    scale = matrix.abs().sum(dim=1).amax()
    smallest = shrinkage / (math.sqrt(dim) * (dim + shrinkage))
    # Six more, since near 1 each step squares the error.
    steps = math.ceil(math.log(1 / smallest) / math.log(9 / 4)) + 6
    identity = torch.eye(dim, dtype=matrix.dtype, device=matrix.device)
    # Y = A / c, Z = I; then Y <- Y T, Z <- T Z with T = (3 I - Z Y) / 2
    y, z = matrix / scale, identity
    for _ in range(steps):
        t = (3 * identity - z @ y) / 2
        y, z = y @ t, t @ z
    return z / scale.sqrt()
