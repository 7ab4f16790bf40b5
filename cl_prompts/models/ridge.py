"""Ridge regression from sums over the stream.

It serves RanPAC and GACL (one-hot targets), the multi-label ridge and L3A (several labels, weighted
samples), and FlyPrompt's router (the expert that was current).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.errors import InputError, RunError
from cl_prompts.models.symmetric import SymmetricSums

#: Random features with a rectifier, as ridge regression has them.
Expansion = Literal["normal", "uniform"]
AnyExpansion = Literal["normal", "uniform", "gelu", "fourier"]

#: Ridges that :meth:`RidgeStatistics.choose_ridge` compares where nothing else is said (RanPAC's).
RIDGES = tuple(10.0**k for k in range(-8, 9))


def mean_squared_error(scores: Tensor, targets: Tensor) -> float:
    """Mean squared difference of two (n, columns)."""
    return float((scores - targets).square().mean())


class RandomExpansion(nn.Module):
    """Random features ``phi(x) = relu(x R)``, ``gelu(x R)``, or those of a Gaussian kernel, with a
    fixed matrix R.

    ReLU is homogeneous, so a factor s on R only turns a ridge r into r / s^2: ``"normal"`` and
    ``"uniform"`` differ by the distribution of R's entries and by the right size of the ridge.

    Fourier features (Rahimi and Recht, NeurIPS 2007) are ``sqrt(2 / width) cos(sqrt(2 gamma) x R +
    b)`` with b uniform in [0, 2 pi); the product of two is about ``exp(-gamma |x - y|^2)``.
    Without ``gamma``, :meth:`fit` sets it by the first batch.

    Args:
        dim: width of a feature.
        width: random features.
        kind: ``"normal"``: N(0, 1), as RanPAC and FlyPrompt; ``"uniform"``: U(-1/sqrt(dim),
            1/sqrt(dim)), the initial values of torch's linear layer, as GACL and L3A; ``"gelu"``:
            N(0, 1) with the exact GELU, as AnaCP; ``"fourier"``: N(0, 1), as KLDA and RanDumb.
        seed: of R, and then b.
        gamma: of the kernel of Fourier features; None: of the first batch.

    Example:
        >>> RandomExpansion(4, 10, "normal", seed=0)(torch.randn(3, 4)).shape
        torch.Size([3, 10])
    """

    drawn = ("matrix", "phase", "bandwidth")
    matrix: Tensor
    phase: Tensor
    bandwidth: Tensor

    def __init__(
        self,
        dim: int,
        width: int,
        kind: AnyExpansion = "normal",
        *,
        seed: int = 0,
        gamma: float | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.gamma = gamma
        generator = torch.Generator().manual_seed(seed)
        if kind == "uniform":
            # U(-1 / sqrt(d), 1 / sqrt(d)), as torch initialises a linear layer
            matrix = (2 * torch.rand(dim, width, generator=generator) - 1) * dim**-0.5
        else:
            matrix = torch.randn(dim, width, generator=generator)
        self.register_buffer("matrix", matrix)
        if kind == "fourier":
            # cos(w . x + b) with b ~ U[0, 2 pi): random Fourier features of the Gaussian kernel
            phase = 2 * torch.pi * torch.rand(width, generator=generator)
            self.register_buffer("phase", phase)
            self.register_buffer("bandwidth", torch.zeros(()))  # 0: not set yet

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set the kernel of Fourier features by the median rule, gamma = 1 / median |x - y|^2 over
        the pairs of the first batch, unless it was given or set before.

        Args:
            features: (batch, dim). Where all are the same, or there is one alone, the mean of
                |x|^2 stands in for the median.
        """
        if self.kind != "fourier" or self.gamma is not None or len(features) == 0:
            return
        n = len(features)
        first, second = torch.triu_indices(n, n, offset=1, device=features.device)
        size = features.square().sum(dim=1).mean()
        if len(first):
            distance = torch.cdist(features, features)[first, second].square().median()
            size = torch.where(distance > 0, distance, size)
        size = torch.where(size > 0, size, torch.ones_like(size))
        # gamma = 1 / median |x - y|^2, which stays what the first batch has set
        found = (1 / size).to(self.bandwidth.dtype)
        self.bandwidth.copy_(torch.where(self.bandwidth > 0, self.bandwidth, found))

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> (batch, width), in the features' type."""
        x = features @ self.matrix.to(features.dtype)
        if self.kind == "gelu":
            return F.gelu(x)
        if self.kind != "fourier":
            return torch.relu(x)
        gamma = self.bandwidth.to(x.dtype) if self.gamma is None else self.gamma
        # sqrt(2 / M) cos(x Omega + b), Omega ~ N(0, 2 gamma)
        phase = self.phase.to(x.dtype)
        return (2 / x.shape[1]) ** 0.5 * torch.cos((2 * gamma) ** 0.5 * x + phase)


class RidgeStatistics(SymmetricSums):
    """The sums that ridge regression needs, kept exactly while streaming.

    With inputs phi (random features, or the features themselves, or these and a constant 1), sample
    weights w and targets y: ``G = sum w phi' phi``, ``Q = sum w phi' y``, and the solution for the
    ridge r is ``U = (G + r I)^-1 Q``. The order of samples and their batches do not matter; an
    integer weight w equals adding a sample w times.

    G takes ``size``^2 numbers, 800 MB at 10,000 in float64, and half as many in every checkpoint; a
    solution costs about size^3 / 6 multiply-adds and for a moment as much memory beside it.

    Args:
        dim: width of a feature.
        columns: width of a target.
        expansion: distribution of random features, see :class:`RandomExpansion`; None: none.
        width: random features; without expansion it has no effect.
        intercept: append a constant 1 to the inputs; the ridge acts on its coefficient, too.
        seed: of the random features.
        dtype: of sums and solutions. float32 is enough for small widths and large ridges only.

    Example:
        >>> ridge = RidgeStatistics(4, 3, intercept=True)
        >>> x, y = torch.randn(50, 4), torch.randn(50, 3)
        >>> ridge.add(ridge.inputs(x), y)
        >>> weight = ridge.solve(0.1)
        >>> (ridge.inputs(x) @ weight).shape
        torch.Size([50, 3])
    """

    symmetric = ("gram",)
    summed = ("gram", "cross")
    gram: Tensor
    cross: Tensor

    def __init__(
        self,
        dim: int,
        columns: int,
        *,
        expansion: AnyExpansion | None = None,
        width: int = 0,
        intercept: bool = False,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.intercept = intercept
        self.expansion = (
            None if expansion is None else RandomExpansion(dim, width, expansion, seed=seed)
        )
        self.size = (dim if expansion is None else width) + intercept
        # Columns are classes, unless the owner says otherwise.
        self.class_axes: Mapping[str, int] = {"cross": 1}
        self.task_axes: Mapping[str, int] = {}
        self.register_buffer("gram", torch.zeros(self.size, self.size, dtype=dtype))
        self.register_buffer("cross", torch.zeros(self.size, columns, dtype=dtype))

    def inputs(self, features: Tensor) -> Tensor:
        """Features (batch, dim) of any float type -> inputs phi (batch, size) of the regression."""
        x = features.to(self.gram.dtype)
        x = x if self.expansion is None else self.expansion(x)
        return torch.cat([x, x.new_ones(len(x), 1)], dim=1) if self.intercept else x

    @torch.no_grad()
    def add(self, inputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Add samples to the sums.

        Args:
            inputs: (batch, size) from :meth:`inputs`.
            targets: (batch, columns) real numbers.
            weights: (batch,), not negative; None counts every sample once.
        """
        weighted = inputs if weights is None else inputs * weights.to(inputs.dtype)[:, None]
        # G += sum w phi' phi, Q += sum w phi' y
        self.gram.addmm_(weighted.T, inputs)
        self.cross.addmm_(weighted.T, targets.to(inputs.dtype))

    @torch.no_grad()
    def attempt(self, ridge: float | Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`solve` without device synchronisation; returns its state, too, see
        :func:`attempt_positive`."""
        # (G + r I) U = Q
        return attempt_positive(_with_ridge(self.gram, ridge), self.cross)

    @torch.no_grad()
    def solve(self, ridge: float | Tensor, blame: str = "ridge regression") -> Tensor:
        """The solution (size, columns).

        Args:
            ridge: r, positive.
            blame: who is named if the system cannot be solved.

        Raises:
            RunError: the system is not positive definite to working precision.
        """
        solution, info = self.attempt(ridge)
        check_solved(info, blame, self.gram.dtype, "ridge", ridge)
        return solution

    @torch.no_grad()
    def choose_ridge(
        self,
        held: tuple[Tensor, Tensor, Tensor | None],
        *,
        candidates: Sequence[float] = RIDGES,
        error: Callable[[Tensor, Tensor], float] = mean_squared_error,
        blame: str = "ridge regression",
    ) -> float:
        """The candidate of least error on held-out samples that are part of the sums: they are
        taken out for the comparison, the sums stay as they are.

        Candidates for which the system is not positive definite to working precision are passed
        over. One factorisation per candidate.

        Args:
            held: inputs (n, size), targets (n, columns) and weights (n,) or None of the held-out
                samples, as they were given to :meth:`add`.
            error: of scores and targets, both (n, columns).
            blame: who is named if no candidate can be solved for.

        Raises:
            InputError: no held-out sample.
            RunError: no candidate can be solved for.
        """
        h, y, weights = held
        if len(h) == 0:
            raise InputError(
                f"{blame} cannot choose a ridge without held-out features: give held_out > 0 and"
                " update it"
            )
        # A sample of weight a is in the sums as a h h^T and a h y^T.
        weighted = h if weights is None else h * weights.to(h.dtype)[:, None]
        # G and Q without the held-out samples
        gram = self.gram.addmm(weighted.T, h, alpha=-1)
        cross = self.cross.addmm(weighted.T, y, alpha=-1)
        errors = {candidates[i]: error(h @ u, y) for i, u in solutions(gram, cross, candidates)}
        if not errors:
            raise RunError(
                f"{blame} could not solve for any candidate ridge: larger candidates are needed"
            )
        return min(errors, key=errors.__getitem__)


def solutions(
    gram: Tensor, cross: Tensor, candidates: Sequence[float]
) -> Iterator[tuple[int, Tensor]]:
    """Number and solution ``(G + r I)^-1 Q`` of each candidate r that gives one to working
    precision."""
    for i, ridge in enumerate(candidates):
        # Held by nothing here, so that no two systems stand beside each other.
        solution, info = attempt_positive(_with_ridge(gram, ridge), cross)
        if int(info) == 0:
            yield i, solution


def _with_ridge(gram: Tensor, ridge: float | Tensor) -> Tensor:
    system = gram.clone()
    system.diagonal().add_(ridge)
    return system


def attempt_positive(system: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Solve a symmetric positive definite system, for which no GPU waits.

    Args:
        system: (n, n), of which the factor takes the place: it is the largest thing in memory.
        right: (n, columns).

    Returns:
        the solution (n, columns), NaN where the system is not positive definite to working
        precision, and a whole number that is 0 unless it is not: see :func:`check_solved`.
    """
    info = torch.empty((), dtype=torch.int32, device=system.device)
    # The factor of the lower triangle. LAPACK goes by columns, to which it is the upper one: by
    # rows torch would factorise a copy, and cholesky_solve another one.
    factor = system.mT
    torch.linalg.cholesky_ex(factor, upper=True, out=(factor, info))
    half = torch.linalg.solve_triangular(factor.mT, right, upper=False)
    solution = torch.linalg.solve_triangular(factor, half, upper=True)
    return solution.masked_fill_(info != 0, float("nan")), info


def check_solved(
    info: Tensor, blame: str, dtype: torch.dtype, regulariser: str, value: float | Tensor | str
) -> None:
    """Check the state of a solution by :func:`attempt_positive`, which makes a GPU wait.

    Args:
        info: the state.
        blame: who is named in the error.
        dtype: of the system.
        regulariser: what is too small if it failed.
        value: of that, or the rule that found it.

    Raises:
        RunError: the system was not positive definite to working precision.
    """
    if int(info) != 0:
        size = value if isinstance(value, str) else f"{float(value):g}"
        raise RunError(
            f"{blame} could not solve its linear system in {dtype}: the {regulariser} {size} is too"
            " small"
        )
