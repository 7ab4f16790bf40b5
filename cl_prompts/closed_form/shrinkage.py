"""Shrinkage of covariances and ridges of regressions, computed from the data."""

from typing import Literal

import torch
from torch import Tensor

#: Rules that compute a shrinkage; settings accept them besides numbers.
ByRule = Literal["oas"]

#: Meaning of a shrinkage e of a covariance S: ``"share"``, (1 - e) S + e I; ``"added"``, S + e I;
#: ``"relative"``, S + e m I with the mean variance m.
ShrinkageForm = Literal["share", "added", "relative"]

#: Lower bound of :func:`oas`, which bounds condition numbers.
LEAST_OAS = 1e-6


def oas(dim: int, samples: Tensor | float, trace: Tensor, trace_of_square: Tensor) -> Tensor:
    """Oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero, IEEE TSP 2010).

    With the covariance S of n samples in p dimensions, ``m = tr S / p`` and ``a = tr S^2 / p^2``,
    ``rho = min(1, (a + m^2) / ((n + 1) (a - m^2 / p)))``, for ``(1 - rho) S + rho m I``. This is
    scikit-learn's form, which the published RanDumb uses; the paper's has further terms of order 1
    / p.

    Args:
        dim: p.
        samples: n.
        trace: scalar tr S.
        trace_of_square: scalar tr S^2, the sum of all squared entries.

    Returns:
        scalar rho from :data:`LEAST_OAS` to 1; 1 for a multiple of the identity and for zeros.

    Example:
        >>> s = torch.diag(torch.tensor([3.0, 1.0]))
        >>> oas(2, 9, s.trace(), s.square().sum())  # (2.5 + 4) / (10 * (2.5 - 2))
        tensor(1.)
        >>> oas(2, 99, s.trace(), s.square().sum())
        tensor(0.1300)
    """
    m = trace / dim
    a = trace_of_square / dim**2
    # 0 if all eigenvalues are equal, up to rounding.
    spread = (a - m.square() / dim).clamp(min=0)
    rho = (a + m.square()) / ((samples + 1) * spread)
    return torch.where(spread > 0, rho, torch.ones_like(rho)).clamp(min=LEAST_OAS, max=1)


def terms(
    scatter: Tensor, samples: Tensor, shrinkage: float | Tensor | ByRule, form: ShrinkageForm
) -> tuple[Tensor | float, Tensor | float]:
    """Weight w and addend a of the shrunk covariance ``w S + a I``.

    Args:
        scatter: (dim, dim), ``samples`` S.
        samples: scalar; 0 counts as 1.
        shrinkage: a number, or a rule: ``(1 - rho) S + rho m I`` with the mean variance m.
        form: of a number, see :data:`ShrinkageForm`.
    """
    n = samples.clamp(min=1)
    if isinstance(shrinkage, str):
        s = scatter / n
        rho = oas(len(s), n, s.trace(), s.square().sum())
        return 1 - rho, rho * mean_variance(s)
    weight = 1 - shrinkage if form == "share" else 1.0
    return weight, shrinkage * mean_variance(scatter / n) if form == "relative" else shrinkage


def shrunk(
    scatter: Tensor,
    samples: Tensor,
    shrinkage: float | Tensor | ByRule,
    form: ShrinkageForm = "relative",
) -> Tensor:
    """Divide a scatter by its samples and shrink it, see :func:`terms`: a new tensor (dim, dim)."""
    weight, added = terms(scatter, samples, shrinkage, form)
    system = scatter * (weight / samples.clamp(min=1))
    system.diagonal().add_(added)
    return system


def mean_variance(covariance: Tensor) -> Tensor:
    """Mean of the diagonal of each matrix (..., dim, dim); 1 if it is 0."""
    variance = covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    return torch.where(variance > 0, variance, torch.ones_like(variance))


#: Candidates of :func:`ridge_by_evidence`, relative to the mean square of an input.
CANDIDATES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)


@torch.no_grad()
def ridge_by_evidence(system: Tensor, right: Tensor, square: Tensor, samples: Tensor) -> Tensor:
    """The ridge of greatest evidence (MacKay, Neural Computation 1992).

    Weights are normal with a common variance, labels ``x W`` plus normal noise; n r is the noise
    variance over the weight variance. The evidence is the density of the labels with the weights
    integrated out, at the likeliest noise. With A the mean of ``x' x`` over n samples, B that of
    ``x' y``, e that of ``|y|^2`` and ``W = (A + r I)^-1 B``, minus twice its logarithm is ``n log(e
    - <W, B>) + log det(A + r I) - dim log r`` for each output, plus a constant. With few samples a
    far too small ridge is rarer than by generalised cross-validation (Wood, J. R. Stat. Soc. B
    2011). No device synchronisation.

    Args:
        system: A (dim, dim).
        right: B (dim, columns).
        square: scalar e.
        samples: scalar n.

    Returns:
        scalar r: one of :data:`CANDIDATES` times the mean of A's diagonal; the largest of equal
            ones.

    Example:
        >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)).double()
        >>> y = x[:, :1]  # without noise, the least ridge is best
        >>> n = torch.tensor(400.0)
        >>> bool(ridge_by_evidence(x.T @ x / n, x.T @ y / n, y.square().sum() / n, n) < 0.002)
        True
    """
    diagonal = system.diagonal()
    scale = diagonal.mean()
    # Before the first sample any ridge gives zeros.
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    candidates = scale * torch.tensor(CANDIDATES, dtype=scale.dtype, device=scale.device)
    found = []
    for ridge in candidates:
        shrunk = system.clone()
        shrunk.diagonal().add_(ridge)
        factor, info = torch.linalg.cholesky_ex(shrunk)
        # e - <W, B>: mean squared error, and the ridge times |W|^2
        rest = square - (torch.cholesky_solve(right, factor) * right).sum()
        log_det = 2 * factor.diagonal().log().sum()
        evidence = samples * rest.log() + log_det - len(system) * ridge.log()
        usable = (info == 0) & torch.isfinite(evidence)
        found.append(torch.where(usable, evidence, torch.full_like(evidence, float("inf"))))
    surprise = torch.stack(found)
    least = surprise.min()
    # Up to rounding; without any usable candidate all are equal.
    equal = surprise <= least + 1e-9 * (1 + least.abs())
    return torch.where(equal, candidates, torch.zeros_like(candidates)).max()
