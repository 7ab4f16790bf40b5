"""Regularised discriminant analysis: a covariance of each class beside the pooled one."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from cl_prompts.closed_form.class_scatter import rows_by_class
from cl_prompts.closed_form.pooled_ridge import FoundRidge, RidgedScatter
from cl_prompts.closed_form.shrinkage import mean_variance
from cl_prompts.closed_form.sums import Limits


class ClassSketches(nn.Module):
    """One sketch per class of the rows added to it (Frequent Directions: Liberty, KDD 2013).

    The sketch V (rank, dim) of rows X (n, dim) underestimates their scatter: ``0 <= X'X - V'V <=
    |X|_F^2 / rank`` in spectral norm, for any order and division of the rows. It is exact for at
    most ``rank`` rows. Sketches merge by adding the rows of one to the other, with the same bound
    (Ghashami, Liberty, Phillips and Woodruff, SIAM J. Comput. 2016).

    Args:
        rank: rows of a sketch.
        dim: length of a row.
        n_classes: sketches.

    Example:
        >>> sketches = ClassSketches(2, dim=3, n_classes=1)
        >>> sketches.add(0, torch.tensor([[0.0, 4.0, 0.0], [3.0, 0.0, 0.0]]).double())
        >>> v = sketches.rows[0]
        >>> (v.T @ v).diagonal().tolist()
        [9.0, 16.0, 0.0]
    """

    class_axes: ClassVar = {"rows": 0}
    unsummed = ("rows",)
    rows: Tensor

    def __init__(self, rank: int, dim: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(n_classes, rank, dim, dtype=torch.float64))

    def limits(self) -> Limits:
        """Rows cannot be taken out."""
        return Limits(
            subtract="images cannot be taken out of sketches of covariances",
            order="sketches of covariances depend on the order of their rows",
        )

    @torch.no_grad()
    def add(self, c: int, rows: Tensor) -> None:
        """Add rows (n, dim) to the sketch of class c."""
        if len(rows):
            self.rows[c] = compressed(torch.cat([self.rows[c], rows]), self.rows.shape[1])


def compressed(rows: Tensor, rank: int) -> Tensor:
    """Sketch (rank, dim) of more than ``rank`` rows (n, dim): the leading singular directions, each
    squared singular value reduced by the largest of those left out."""
    # Singular values of X by the Gram matrix X X', which is small: X = U s W', so U' X = s W'.
    # Rows that are not finite stay so, where eigh would fail.
    values, vectors = torch.linalg.eigh((rows @ rows.T).nan_to_num())
    left_out, kept = values[-rank - 1].clamp(min=0), values[-rank:]
    # sqrt(s^2 - delta) W' = sqrt(1 - delta / s^2) U' X
    scale = 1 - left_out / kept.clamp(min=torch.finfo(rows.dtype).tiny)
    return scale.clamp(min=0).sqrt()[:, None] * (vectors[:, -rank:].T @ rows)


class RegularisedDiscriminant(RidgedScatter):
    """Regularised discriminant analysis (Friedman, JASA 1989) with class covariances of low rank
    (LR-RGDA, arXiv 2602.00144), equal priors.

    Score of class c: ``-1/2 [(x - mu_c)' S_c^-1 (x - mu_c) + log det S_c]`` with ``S_c = S + a_c
    V_c' V_c`` and ``S = Sw + b t I``. Sw is the pooled covariance within classes, ``t = tr(Sw) /
    dim``, and ``V_c' V_c`` a sketch of rank r of the class's own covariance, see
    :class:`ClassSketches`. ``a_c = n_c / dim``, so that a class with few samples relies on the
    pooled covariance. By Woodbury's identity one Cholesky factor of S serves all classes. Scores
    are relative to the best seen class of their sample.

    The state takes dim^2 + classes * (rank + 1) * dim numbers. Neither S nor the means depend on
    the order of samples; the sketches do once a class has more than r samples, within their bound.

    Deviations from LR-RGDA: the features are those of a frozen ViT; a sketch that streams replaces
    the decomposition of all features of a class; a and b are found from the data.

    Args:
        dim: of a feature.
        n_classes: columns of the logits.
        rank: r; 0 is linear discriminant analysis with equal priors; from dim on, the class
            covariances are exact.
        ridge: b; ``"evidence"``: b t is the ridge that
            :class:`~cl_prompts.closed_form.pooled_ridge.PooledRidge` computes from the same sums.

    Example:
        >>> rda = RegularisedDiscriminant(2, n_classes=3, rank=1)
        >>> labels = torch.arange(100) % 2
        >>> wide = torch.randn(100, 2) * (1 + 9 * labels[:, None])  # equal means
        >>> rda.update(wide, labels)
        >>> rda(torch.tensor([[0.1, 0.1], [20.0, 20.0]])).argmax(dim=1)
        tensor([0, 1])
    """

    sorts = True
    derived = ("weight", "factors", "log_det")
    factors: Tensor
    """(classes, rank, dim) F_c with F_c' F_c = S^-1 - S_c^-1."""
    log_det: Tensor
    """(classes,) log det S_c - log det S."""

    def __init__(
        self, dim: int, n_classes: int, *, rank: int = 8, ridge: float | FoundRidge = "evidence"
    ) -> None:
        super().__init__(dim, n_classes, ridge=ridge)
        self.rank = rank
        self.sketches = ClassSketches(rank, dim, n_classes) if rank else None

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        if self.sketches is not None:
            for c, mine in rows_by_class(x, labels):
                before, mean = self.count[c], mine.mean(dim=0)
                # Chan et al.: residuals about the batch's mean, and the shift of the mean as one
                # more row, have the scatter about the final mean.
                shift = (before * len(mine) / (before + len(mine))).sqrt() * (mean - self.mean[c])
                self.sketches.add(c, torch.cat([mine - mean, shift[None]]))
        super()._update(x, onehot, labels)

    def combined(self, other: RegularisedDiscriminant | None, sign: int) -> None:  # type: ignore[override]
        """Merge the sketches, after counts and means were combined."""
        super().combined(other, sign)
        # A subtraction leaves the sketches of all samples.
        if self.sketches is None or sign < 0:
            return
        if other is None:
            self.sketches.rows.zero_()
            return
        assert other.sketches is not None
        before = self.count - other.count
        for c in other.seen.nonzero().flatten().tolist():
            rows = other.sketches.rows[c]
            if before[c]:
                # n m / (n + m) shift^2, by the distance to the new mean
                distance = other.mean[c] - self.mean[c]
                factor = other.count[c] * self.count[c] / before[c]
                rows = torch.cat([rows, factor.sqrt() * distance[None]])
            self.sketches.add(c, rows)

    def roots(self) -> Tensor:
        """(classes, rank, dim) sqrt(a_c) V_c."""
        if self.sketches is None:
            return self.mean.new_zeros(self.n_classes, 0, self.dim)
        # The rows' scatter is n_c V_c' V_c, and a_c = n_c / dim.
        return self.sketches.rows / self.dim**0.5

    def _attempt(self) -> tuple[Tensor, Tensor]:
        s = self.scatter / self.count.sum().clamp(min=1)
        self.update_ridge(mean_variance(s))
        s.diagonal().add_(self.ridge)
        root, info = torch.linalg.cholesky_ex(s)
        root = root.masked_fill(info != 0, float("nan"))
        # E_c = sqrt(a_c) V_c L^-T, with S = L L'
        roots = self.roots()
        rows = roots.flatten(0, 1)
        e = torch.linalg.solve_triangular(root.mT, rows, upper=True, left=False).view_as(roots)
        # Woodbury: S_c^-1 = S^-1 - F_c' F_c, F_c = K_c^-1 E_c L^-1 with K_c K_c' = I + E_c E_c'
        inner = e @ e.mT + torch.eye(e.shape[1], dtype=e.dtype, device=e.device)
        small = torch.linalg.cholesky_ex(inner).L
        rows = torch.linalg.solve_triangular(small, e, upper=False).flatten(0, 1)
        factors = torch.linalg.solve_triangular(root, rows, upper=False, left=False)
        self.factors = factors.view_as(roots)
        # det S_c = det S det(I + E_c E_c')
        self.log_det = 2 * small.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        return torch.cholesky_solve(self.mean.T, root), info

    def _scores(self, x: Tensor) -> Tensor:
        weight = self.solution()
        # x S^-1 mu_c - mu_c S^-1 mu_c / 2, as for one covariance
        linear = x @ weight - (self.mean.T * weight).sum(dim=0) / 2
        # |F_c (x - mu_c)|^2 / 2
        offset = torch.einsum("crd,cd->cr", self.factors, self.mean)
        own = torch.einsum("bd,crd->bcr", x, self.factors) - offset
        return self._relative(linear + (own.square().sum(dim=2) - self.log_det) / 2)
