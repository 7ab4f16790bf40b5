"""AIR: class-balanced ridge regression."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from cl_prompts.closed_form.class_scatter import check_class_matrices, rows_by_class
from cl_prompts.closed_form.prototype_classifiers import SolvedClassifier
from cl_prompts.closed_form.ridge import Expansion, RandomExpansion, attempt_positive
from cl_prompts.closed_form.symmetric import SymmetricSums

BalanceOver = Literal["seen", "range"]


class BalancedRidge(SymmetricSums, SolvedClassifier):
    """AIR (2024, arXiv 2408.10349), generalised form: class-balanced ridge regression.

    With random features ``h = relu(f R)``, for each class c the sums ``A_c = H_c' H_c`` and ``s_c =
    sum h`` over its n_c samples, and class weights v_c proportional to 1 / n_c with mean 1 over the
    known classes: ``W = (sum_c v_c A_c + ridge I)^-1 [v_c s_c]_c``, scores ``h W``. The matrices
    A_c take n_classes * projection^2 numbers, 4 GB for 100 classes at 700 in float64, half of that
    in a file.

    Deviation: known classes are those with a sample, so labels may come in any order. The published
    code counts every class up to the highest label (``balance_over="range"``), so the ridge weighs
    less while classes in between are missing.

    Args:
        projection: number of random features.
        expansion: their distribution, see :class:`~cl_prompts.closed_form.ridge.RandomExpansion`.
        ridge: positive.
        balance_over: classes with mean weight 1, see above.
        memory_gib: limit of the class matrices' memory.
        seed: of R.

    Raises:
        InputError: class matrices above ``memory_gib``.

    Example:
        >>> air = BalancedRidge(4, 3, projection=20, ridge=1.0)
        >>> air.update(torch.randn(9, 4), torch.tensor([0] * 8 + [2]))
        >>> air(torch.randn(5, 4))[:, 1]
        tensor([-inf, -inf, -inf, -inf, -inf])
    """

    sorts = True
    symmetric = ("grams",)
    summed = ("count", "grams", "sums")
    class_axes: ClassVar = {**SolvedClassifier.class_axes, "grams": 0, "sums": 0}
    grams: Tensor
    sums: Tensor

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        projection: int = 500,
        expansion: Expansion = "uniform",
        ridge: float = 100.0,
        balance_over: BalanceOver = "seen",
        memory_gib: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, n_classes)
        check_class_matrices("AIR", n_classes, projection, memory_gib)
        self.ridge = ridge
        self.balance_over = balance_over
        self.expansion = RandomExpansion(dim, projection, expansion, seed=seed)
        grams = torch.zeros(n_classes, projection, projection, dtype=torch.float64)
        self.register_buffer("grams", grams)
        self.register_buffer("sums", torch.zeros(n_classes, projection, dtype=torch.float64))

    def class_weights(self) -> Tensor:
        """(classes,) v, proportional to 1 / count with mean 1 over the known classes, else 0."""
        v = torch.where(self.seen, 1 / self.count.clamp(min=1), 0)
        known = self.seen.sum()
        if self.balance_over == "range":
            known = (self.seen * torch.arange(1, self.n_classes + 1, device=v.device)).amax()
        return v * known / v.sum().clamp(min=torch.finfo(v.dtype).tiny)

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        h = self.expansion(x)
        # A_c += H_c' H_c, s_c += sum of h
        for c, mine in rows_by_class(h, labels):
            self.grams[c].addmm_(mine.T, mine)
        self.sums.addmm_(onehot.T, h)
        self.weight = None

    def _attempt(self) -> tuple[Tensor, Tensor]:
        # W = (sum_c v_c A_c + ridge I)^-1 [v_c s_c]_c
        v = self.class_weights()
        system = torch.einsum("c,cij->ij", v, self.grams)
        system.diagonal().add_(self.ridge)
        return attempt_positive(system, (v[:, None] * self.sums).T)

    def _scores(self, x: Tensor) -> Tensor:
        return self.expansion(x) @ self.solution()
