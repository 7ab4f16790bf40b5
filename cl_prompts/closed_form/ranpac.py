"""RanPAC: ridge regression on randomly projected features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.closed_form.prototype_classifiers import SolvedClassifier
from cl_prompts.closed_form.ridge import RIDGES, Expansion, RidgeStatistics, mean_squared_error


class RanPAC(SolvedClassifier):
    """RanPAC: ridge regression on random features, without its first phase.

    McDonnell et al., NeurIPS 2023, arXiv 2307.02251. ``h = relu(f R)`` with fixed R ~ N(0, 1) of
    shape (dim, projection); ``W = (H'H + ridge I)^-1 H'Y`` with one-hot Y; scores ``h W``. H'H and
    H'Y are sums over samples, so streaming is exact. W is computed when scores are first needed
    after an update, by about projection^3 / 6 multiply-adds: ten seconds of a CPU core at 10,000,
    0.1 at 2,000. H'H takes projection^2 numbers, 800 MB at 10,000, half of that in a checkpoint,
    and temporarily twice that for a solution.

    The paper chooses the ridge for each task among 10^-8 .. 10^8 by the squared error on a held-out
    fifth of the task. Here ``held_out`` features, a uniform sample of the stream so far, are stored
    for :meth:`choose_ridge`, which removes them from H'H for the comparison.

    GACL (Zhuang et al., NeurIPS 2024, arXiv 2403.15706) is the same estimator:
    ``expansion="uniform", projection=5000, ridge=100, held_out=0``. Its recursion gives the batch
    solution, and its "exposed class label gain" is implicit in a sum. Its published run counts
    every batch three times, which amounts to a third of the ridge.

    Args:
        projection: number of random features.
        expansion: distribution of R, see :class:`~cl_prompts.closed_form.ridge.RandomExpansion`;
            None: regression on the features themselves, without ``projection``.
        intercept: append a constant 1 to the inputs; the ridge acts on its coefficient, too.
        ridge: until one is chosen. Its scale grows with the square of the features' norm: with the
            embedded ViT on digits (norm 14, projection 2,000) 1 to 1e6 score within a point of each
            other.
        held_out: features stored for :meth:`choose_ridge`; 0: none.
        seed: of R and of the held-out sample.
        dtype: of sums and solution; float32 suffices only for small projections and large ridges,
            since the condition grows with samples * projection / ridge.

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
        """Choose the ridge of least squared error on the held-out sample for further use.

        One factorisation per candidate: call it at task ends, not at every evaluation.
        """
        return self._choose(*self.held.samples, None, candidates)

    def _choose(
        self,
        features: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        candidates: Sequence[float],
        error: Callable[[Tensor, Tensor], float] = mean_squared_error,
    ) -> float:
        held = self.statistics.inputs(features), targets, weights
        best = self.statistics.choose_ridge(held, candidates=candidates, error=error)
        self.ridge.fill_(best)
        self.weight = None
        return best

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        self.statistics.add(self.statistics.inputs(x), onehot)
        self.count += onehot.sum(dim=0)
        self.held.add(x, onehot)
        self.weight = None

    def _attempt(self) -> tuple[Tensor, Tensor]:
        return self.statistics.attempt(self.ridge)

    def _scores(self, x: Tensor, *, wait: bool = True) -> Tensor:
        return self.statistics.inputs(x) @ self.solution(wait=wait)
