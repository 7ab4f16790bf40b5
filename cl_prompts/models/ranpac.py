"""RanPAC: ridge regression on randomly projected features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cl_prompts.models.held_out import HeldOutSample
from cl_prompts.models.prototype_classifiers import SolvedClassifier
from cl_prompts.models.ridge import (
    RIDGES,
    Expansion,
    RidgeStatistics,
    check_ridge,
    mean_squared_error,
)


class RanPAC(SolvedClassifier):
    """Random projection and ridge regression (McDonnell et al., NeurIPS 2023, arXiv 2307.02251),
    without its first phase; with other settings GACL (NeurIPS 2024, arXiv 2403.15706).

    ``h = relu(f R)`` with R ~ N(0, 1) of shape (dim, projection), fixed;
    ``W = (H'H + ridge I)^-1 H'Y`` with one-hot Y; scores ``h W``. Sums and costs are those of
    :class:`~cl_prompts.models.ridge.RidgeStatistics`.

    ``held_out`` features, a uniform sample of the stream so far, can be stored to choose a ridge:
    they are part of H'H like all others, and :meth:`choose_ridge` removes them, scores every
    candidate on them, and adds them again.

    Args:
        expansion: distribution of R; None: the regression is on the features themselves.
        intercept: append a constant 1 to the inputs.
        ridge: until one is chosen. Its right size grows with the square of the features' norm.
        held_out: features stored for :meth:`choose_ridge`; 0 for none.
        seed: of R and of the held-out sample.

    Example:
        >>> ranpac = RanPAC(4, 3, projection=50, ridge=1.0)
        >>> features, labels = 3 * torch.eye(4)[:3], torch.arange(3)
        >>> ranpac.update(features, labels)
        >>> ranpac(features).argmax(dim=1).tolist()
        [0, 1, 2]
    """

    ridge: Tensor

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        projection: int = 10_000,
        expansion: Expansion | None = "normal",
        intercept: bool = False,
        ridge: float = 1e4,
        held_out: int = 0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(dim, n_classes, dtype=dtype)
        check_ridge(self._name, ridge, projection, held_out)
        self.statistics = RidgeStatistics(
            dim,
            n_classes,
            expansion=expansion,
            width=projection,
            intercept=intercept,
            seed=seed,
            dtype=dtype,
        )
        self.held = HeldOutSample(held_out, dim, n_classes, seed=seed, dtype=dtype)
        self.register_buffer("ridge", torch.tensor(ridge, dtype=dtype))

    @torch.no_grad()
    def choose_ridge(self, candidates: Sequence[float] = RIDGES) -> float:
        """Choose, and use from now on, the candidate of least squared error on the held-out sample.

        Candidates for which the system is not positive definite to working precision are
        skipped. One factorisation per candidate: call it at task ends, not at every evaluation.

        Raises:
            InputError: nothing was held out.
            RunError: no candidate can be solved for.
        """
        return self._choose(*self.held.kept, None, candidates)

    def _choose(
        self,
        features: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        candidates: Sequence[float],
        error: Callable[[Tensor, Tensor], float] = mean_squared_error,
    ) -> float:
        held = self.statistics.inputs(features), targets, weights
        best = self.statistics.choose_ridge(
            held, candidates=candidates, error=error, blame=self._name
        )
        self.ridge.fill_(best)
        self.weight = None
        return best

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        # H'H and H'Y, with h = relu(f R)
        self.statistics.add(self.statistics.inputs(x), onehot)
        self.count += onehot.sum(dim=0)
        self.held.add(x, onehot)
        self.weight = None

    def _attempt(self) -> tuple[Tensor, Tensor]:
        return self.statistics.attempt(self.ridge)

    def _scores(self, x: Tensor, *, wait: bool = True) -> Tensor:
        return self.statistics.inputs(x) @ self.solution(wait=wait)
