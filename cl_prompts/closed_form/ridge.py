"""Ridge regression from sums over the stream.

RanPAC and GACL use it with one-hot targets, multi-label ridge and L3A with several labels and
sample weights, FlyPrompt's router with expert ids.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.closed_form.sums import Limits
from cl_prompts.closed_form.symmetric import SymmetricSums
from cl_prompts.errors import RunError

#: Random features with a rectifier, as ridge regression has them.
Expansion = Literal["normal", "uniform"]
AnyExpansion = Literal["normal", "uniform", "gelu", "fourier"]

#: Ridges that :meth:`RidgeStatistics.choose_ridge` compares where nothing else is said (RanPAC's).
RIDGES = tuple(10.0**k for k in range(-8, 9))

#: size from which :func:`low_rank` looks for few samples
WIDE = 4096


def mean_squared_error(scores: Tensor, targets: Tensor) -> float:
    """Mean squared difference of two (n, columns)."""
    return float((scores - targets).square().mean())


class RandomExpansion(nn.Module):
    """Random features of a fixed matrix R: ReLU, GELU or Fourier.

    ``relu(x R)`` is homogeneous: a factor s on R turns a ridge r into r / s^2. So ``"normal"`` and
    ``"uniform"`` differ by the distribution of R's entries and the scale of the ridge. Fourier
    features (Rahimi and Recht, NeurIPS 2007) are ``sqrt(2 / width) cos(sqrt(2 gamma) x R + b)``
    with b uniform in [0, 2 pi); the product of two approximates ``exp(-gamma |x - y|^2)``.

    Args:
        dim: feature width.
        width: number of random features.
        kind: ``"normal"``: N(0, 1), as RanPAC and FlyPrompt; ``"uniform"``: U(-1/sqrt(dim),
            1/sqrt(dim)), torch's initial values of a linear layer, as GACL and L3A; ``"gelu"``:
            N(0, 1) with the exact GELU, as AnaCP; ``"fourier"``: N(0, 1), as KLDA and RanDumb.
        seed: of R and b.
        gamma: of the Fourier features' kernel; None: :meth:`fit` computes it from the first batch.

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
        self.width = width
        self.kind = kind
        self.gamma = gamma
        generator = torch.Generator().manual_seed(seed)
        if kind == "uniform":
            matrix = (2 * torch.rand(dim, width, generator=generator) - 1) * dim**-0.5
        else:
            matrix = torch.randn(dim, width, generator=generator)
        self.register_buffer("matrix", matrix)
        if kind == "fourier":
            phase = 2 * torch.pi * torch.rand(width, generator=generator)
            self.register_buffer("phase", phase)
            self.register_buffer("bandwidth", torch.zeros(()))  # 0: not set yet

    def limits(self) -> Limits:
        """A width that comes from the first batch depends on the order."""
        fitted = self.kind == "fourier" and self.gamma is None
        return Limits(order="the kernel width comes from the first batch" if fitted else None)

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set gamma = 1 / median |x - y|^2 over pairs of the first batch (batch, dim).

        Does nothing if gamma is known. The mean of |x|^2 replaces a median of 0 or of no pairs.
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
        # Only the first batch sets it.
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
    """Sums of a ridge regression, exact on a stream.

    With inputs phi (features or random features, optionally with a constant 1), sample weights w
    and targets y: ``G = sum w phi' phi``, ``Q = sum w phi' y``, and for the ridge r the solution
    ``U = (G + r I)^-1 Q``. Order and batches do not matter; weight 2 equals adding a sample twice.

    G takes ``size``^2 numbers, 800 MB at 10,000 in float64, and half of that in a checkpoint. A
    solution costs about size^3 / 6 multiply-adds and temporarily as much memory again.

    Args:
        dim: feature width.
        columns: target width.
        expansion: random features, or None.
        intercept: append a constant 1 to the inputs; the ridge acts on its coefficient, too.

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
        expansion: RandomExpansion | None = None,
        intercept: bool = False,
    ) -> None:
        super().__init__()
        self.intercept = intercept
        self.expansion = expansion
        self.size = (dim if expansion is None else expansion.width) + intercept
        # Columns are classes by default.
        self.class_axes: Mapping[str, int] = {"cross": 1}
        self.task_axes: Mapping[str, int] = {}
        self.register_buffer("gram", torch.zeros(self.size, self.size, dtype=torch.float64))
        self.register_buffer("cross", torch.zeros(self.size, columns, dtype=torch.float64))

    def inputs(self, features: Tensor) -> Tensor:
        """Features (batch, dim) of any float type -> inputs phi (batch, size)."""
        x = features.to(self.gram.dtype)
        x = x if self.expansion is None else self.expansion(x)
        return torch.cat([x, x.new_ones(len(x), 1)], dim=1) if self.intercept else x

    @torch.no_grad()
    def add(self, inputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Add samples to the sums.

        Args:
            inputs: (batch, size) from :meth:`inputs`.
            targets: (batch, columns) real numbers.
            weights: (batch,), not negative; None: 1.
        """
        weighted = inputs if weights is None else inputs * weights.to(inputs.dtype)[:, None]
        # G += sum w phi' phi, Q += sum w phi' y
        self.gram.addmm_(weighted.T, inputs)
        self.cross.addmm_(weighted.T, targets.to(inputs.dtype))

    @torch.no_grad()
    def attempt(self, ridge: float | Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`solve` without synchronisation; returns as :func:`attempt_positive`."""
        if (factor := low_rank(self.gram)) is not None:
            return factor.attempt(self.cross, ridge)
        # (G + r I) U = Q
        return attempt_positive(_with_ridge(self.gram, ridge), self.cross)

    @torch.no_grad()
    def solve(self, ridge: float | Tensor, blame: str = "ridge regression") -> Tensor:
        """Solve for (size, columns).

        Args:
            ridge: r, positive.
            blame: name for the error.

        Raises:
            RunError: the system is not positive definite to working precision.
        """
        solution, info = self.attempt(ridge)
        check_solved(info, blame, self.gram.dtype, "ridge", ridge)
        return solution

    @torch.no_grad()
    def leave_one_out(
        self,
        inputs: Tensor,
        targets: Tensor,
        ridge: float | Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Score samples of the sums, each by the solution without it (PRESS: Allen, 1974).

        Args:
            inputs: (n, size), as targets and weights those of :meth:`add`.
            targets: (n, columns).
            ridge: r, positive.
            weights: (n,) or None.

        Returns:
            (n, columns); NaN if the system is not positive definite to working precision.
        """
        root, info = torch.linalg.cholesky_ex(_with_ridge(self.gram, ridge))
        root.masked_fill_(info != 0, torch.nan)
        z = torch.linalg.solve_triangular(root, inputs.T, upper=False)
        u = torch.linalg.solve_triangular(root, self.cross, upper=False)
        # h_i = w phi_i (G + r I)^-1 phi_i', scores (phi_i U - h_i y_i) / (1 - h_i)
        h = z.square().sum(dim=0) if weights is None else z.square().sum(dim=0) * weights
        return (z.T @ u - h[:, None] * targets) / (1 - h)[:, None]

    @torch.no_grad()
    def choose_ridge(
        self,
        inputs: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        candidates: Sequence[float],
        error: Callable[[Tensor, Tensor], float],
    ) -> float:
        """Choose the ridge of least error on held-out samples that are part of the sums.

        They are subtracted for the comparison only. Candidates whose system is not positive
        definite to working precision are skipped. One factorisation per candidate.

        Args:
            inputs: (n, size), as targets and weights those of :meth:`add`.
            targets: (n, columns).
            weights: (n,) or None.
            candidates: ridges.
            error: of scores and targets, both (n, columns).
        """
        weighted = inputs if weights is None else inputs * weights.to(inputs.dtype)[:, None]
        # G and Q without the held-out samples
        gram = self.gram.addmm(weighted.T, inputs, alpha=-1)
        cross = self.cross.addmm(weighted.T, targets, alpha=-1)
        found = solutions(gram, cross, candidates)
        errors = {candidates[i]: error(inputs @ u, targets) for i, u in found}
        return min(errors, key=errors.__getitem__)


def solutions(
    gram: Tensor, cross: Tensor, candidates: Sequence[float]
) -> Iterator[tuple[int, Tensor]]:
    """Yield number and solution ``(G + r I)^-1 Q`` of each solvable candidate r."""
    factor = low_rank(gram)
    for i, ridge in enumerate(candidates):
        if factor is not None:
            solution, info = factor.attempt(cross, ridge)
        else:
            # Not stored in a variable, so that only one system is in memory.
            solution, info = attempt_positive(_with_ridge(gram, ridge), cross)
        if int(info) == 0:
            yield i, solution


@dataclass(frozen=True)
class LowRank:
    """Pivoted Cholesky factor of a Gram matrix of few samples: ``G = L L'``.

    The k x k systems below replace those of G's size.

    Attributes:
        factor: L, (size, k).
        pivots: (k,) rows of L that form a lower triangle.
        scale: largest diagonal entry of G.

    Example:
        >>> unit = torch.eye(3, 1)
        >>> factor = LowRank(unit, pivots=torch.tensor([0]), scale=torch.tensor(1.0))
        >>> factor.attempt(unit, ridge=1.0)[0].T  # (G + I) U = Q with G_11 = Q_1 = 1
        tensor([[0.5000, 0.0000, 0.0000]])
    """

    factor: Tensor
    pivots: Tensor
    scale: Tensor

    def attempt(self, cross: Tensor, ridge: float | Tensor) -> tuple[Tensor, Tensor]:
        """Solve ``(G + r I) U = Q``, where Q's columns lie in the range of G.

        Returns:
            U (size, columns) and a state, as :func:`attempt_positive`; a ridge below the precision
                of G fails.
        """
        # Q = L C, and (L L' + r I)^-1 L = L (L'L + r I)^-1
        triangle = self.factor[self.pivots]
        inner = torch.linalg.solve_triangular(triangle, cross[self.pivots], upper=False)
        weights, info = attempt_positive(_with_ridge(self.factor.T @ self.factor, ridge), inner)
        lost = ridge < torch.finfo(cross.dtype).eps * self.scale
        return self.factor @ weights, info + lost


def low_rank(gram: Tensor) -> LowRank | None:
    """Factor a wide Gram matrix whose rank is below an eighth of its size, on the CPU.

    The test of the rank costs a factorisation of an eighth of the size, a 500th of the whole. Other
    devices would synchronise; matrices below :data:`WIDE` are solved in a tenth of a second.
    """
    size = len(gram)
    if size < WIDE or gram.device.type != "cpu":
        return None
    most = size // 8
    rest = gram.diagonal().clone()
    scale = rest.max()
    least = torch.finfo(gram.dtype).eps * size * scale
    corner, info = torch.linalg.cholesky_ex(gram[:most, :most])
    if int(info) == 0 and corner.diagonal().square().min() > least:
        return None
    factor = gram.new_zeros(most, size)  # L', so that rows are contiguous
    pivots: list[int] = []
    while len(pivots) < most and rest.max() > least:
        k, pivot = len(pivots), int(rest.argmax())
        row = gram[[pivot]].addmm(factor[:k, [pivot]].T, factor[:k], alpha=-1)[0]
        factor[k] = row / rest[pivot].sqrt()
        # Exact zeros, where rounding leaves noise, make the pivots' rows a triangle.
        factor[k, pivots] = 0
        rest -= factor[k].square()
        rest[[*pivots, pivot]] = 0
        pivots.append(pivot)
    if len(pivots) == most or not pivots:
        return None
    return LowRank(factor[: len(pivots)].T, torch.tensor(pivots), scale)


def _with_ridge(gram: Tensor, ridge: float | Tensor) -> Tensor:
    system = gram.clone()
    system.diagonal().add_(ridge)
    return system


def attempt_positive(system: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Solve a symmetric positive definite system without GPU synchronisation.

    Args:
        system: (n, n); it is overwritten by its factor to save memory.
        right: (n, columns).

    Returns:
        the solution (n, columns), NaN if the system is not positive definite to working precision,
            and an integer state, 0 for success, for :func:`check_solved`.
    """
    info = torch.empty((), dtype=torch.int32, device=system.device)
    # LAPACK is column-major: a transposed view avoids a copy, triangular solves another one.
    factor = system.mT
    torch.linalg.cholesky_ex(factor, upper=True, out=(factor, info))
    half = torch.linalg.solve_triangular(factor.mT, right, upper=False)
    solution = torch.linalg.solve_triangular(factor, half, upper=True)
    return solution.masked_fill_(info != 0, float("nan")), info


def check_solved(
    info: Tensor, blame: str, dtype: torch.dtype, regulariser: str, value: float | Tensor | str
) -> None:
    """Raise ``RunError`` if :func:`attempt_positive` failed; synchronises with a GPU.

    Args:
        info: the state.
        blame: name for the error.
        dtype: of the system.
        regulariser: name of the setting that is too small.
        value: its value, or the rule that computed it.
    """
    if int(info) != 0:
        size = value if isinstance(value, str) else f"{float(value):g}"
        raise RunError(
            f"{blame} could not solve its linear system in {dtype}: the {regulariser} {size} is too"
            " small"
        )
