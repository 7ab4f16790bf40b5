"""RanPAC: ridge regression on randomly projected features."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.closed_form.prototype_classifiers import SolvedClassifier
from cl_prompts.closed_form.ridge import (
    RIDGES,
    WIDE,
    Expansion,
    RandomExpansion,
    RidgeStatistics,
    mean_squared_error,
)


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

    Example:
        >>> ranpac = RanPAC(4, 3, projection=50, ridge=1.0)
        >>> features, labels = 3 * torch.eye(4)[:3], torch.arange(3)
        >>> ranpac.update(features, labels)
        >>> ranpac(features).argmax(dim=1).tolist()
        [0, 1, 2]
    """

    leaves_one_out = True
    unsummed = ("ridge",)
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
    ) -> None:
        super().__init__(dim, n_classes)
        random = RandomExpansion(dim, projection, expansion, seed=seed) if expansion else None
        self.statistics = RidgeStatistics(dim, n_classes, expansion=random, intercept=intercept)
        self.held = HeldOutSample(held_out, dim, n_classes, seed=seed)
        self.register_buffer("ridge", torch.tensor(ridge, dtype=torch.float64))

    @torch.no_grad()
    def choose_ridge(
        self,
        candidates: Sequence[float] = RIDGES,
        error: Callable[[Tensor, Tensor], float] = mean_squared_error,
    ) -> float:
        """Choose the ridge of least error on the held-out sample, and use it from now on.

        One factorisation per candidate: call it at task ends, not at every evaluation. Where the
        held-out sample is the whole stream, no sample is left to fit, and a wide ridge stays.

        Args:
            candidates: ridges.
            error: of scores and targets, both (n, classes), such as minus mean average precision.
        """
        if self.statistics.size >= WIDE and self.held.reservoir.offered == len(self.held):
            return float(self.ridge)
        self.ridge.fill_(self.statistics.choose_ridge(*self.held_inputs(), candidates, error))
        self.weight = None
        return float(self.ridge)

    def _leave_one_out(self, x: Tensor, labels: Tensor) -> Tensor:
        onehot = F.one_hot(labels, self.n_classes).to(x.dtype)
        scores = self.statistics.leave_one_out(self.statistics.inputs(x), onehot, self.ridge)
        alone = self.count[labels][:, None] < 2
        return scores.masked_fill(alone, torch.nan).masked_fill(~self.seen, -torch.inf)

    def held_inputs(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Inputs, targets and weights of the held-out sample."""
        features, targets = self.held.samples
        return self.statistics.inputs(features), targets, None

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        self.statistics.add(self.statistics.inputs(x), onehot)
        self.held.add(x, onehot)
        self.weight = None

    def _attempt(self) -> tuple[Tensor, Tensor]:
        return self.statistics.attempt(self.ridge)

    def _scores(self, x: Tensor) -> Tensor:
        return self.statistics.inputs(x) @ self.solution()
