"""FeCAM: Mahalanobis distance to class means, with one covariance per class."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.closed_form.class_scatter import ClassScatter, check_class_matrices
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.shrinkage import mean_variance

FeCAMForm = Literal["frozen", "toolbox"]

#: Added to every variance by LAMDA-PILOT.
TOOLBOX_VARIANCE = 100.0


class MahalanobisPerClass(PrototypeClassifier):
    """FeCAM (Goswami et al., NeurIPS 2023, arXiv 2309.14062).

    Minus the Mahalanobis distance to each class mean under the class's normalised covariance, ``(v
    - m_c) R_c^+ (v - m_c)^T``. With ``shrink(S) = S + a1 mean(diag S) I + a2 mean(off-diagonal S)
    (1 - I)`` and ``corr(S)_ij = S_ij / sqrt(S_ii S_jj)``, which gives all classes variances of 1:

    * ``"frozen"``, for frozen ViTs: unit features v, their means m_c (not renormalised), R_c =
      corr(shrink(cov)).
    * ``"toolbox"``, as LAMDA-PILOT: unit v, normalised raw means, and for R_c the correlation
      between the *rows* of ``cov + 100 I``.

    Covariances are unbiased and exact on a stream. Means of off-diagonal entries leave zeros out,
    as published. A class of one sample has R_c = I, except for ``"toolbox"``. Scores invert the
    matrices of classes with new samples only. Memory: 2 n_classes dim^2 numbers (scatters and
    inverses), 0.9 GiB for 100 classes at 768 in float64.

    Args:
        form: see above.
        diagonal: a1.
        off_diagonal: a2.
        memory_gib: limit of the class matrices' memory.

    Raises:
        InputError: class matrices above ``memory_gib``.

    Example:
        >>> fecam = MahalanobisPerClass(4, 3)
        >>> fecam.update(torch.eye(4)[[0, 1, 2, 3]], torch.tensor([0, 0, 2, 2]))
        >>> fecam(torch.eye(4)[[0, 3]]).argmax(dim=1).tolist()
        [0, 2]
    """

    sorts = True
    class_axes: ClassVar = {"count": 0, "inverses": 0, "inverted": 0}
    derived = ("inverses", "inverted")
    inverses: Tensor | None
    inverted: Tensor
    """(classes,) count of each class when its matrix was inverted."""
    current: Sequence[int] | None = None
    """Classes with a sample while all inverses are current. A plain list, so that exported graphs
    depend on no value."""

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        form: FeCAMForm = "frozen",
        diagonal: float = 1.0,
        off_diagonal: float = 0.0,
        memory_gib: float = 4.0,
    ) -> None:
        super().__init__(dim, n_classes)
        check_class_matrices("FeCAM", n_classes, dim, memory_gib, matrices=2)
        self.form = form
        self.diagonal = diagonal
        self.off_diagonal = off_diagonal
        self.classes = ClassScatter(dim, n_classes)

    def means(self) -> Tensor:
        """(classes, dim) m_c."""
        mean = self.classes.mean
        return F.normalize(mean, dim=1) if self.form == "toolbox" else mean

    def matrix(self, c: int) -> Tensor:
        """(dim, dim) R_c of a class."""
        covariance = self.classes.scatters[c] / (self.count[c] - 1).clamp(min=1)
        if self.form == "toolbox":
            # LAMDA-PILOT passes the covariance to np.corrcoef, which correlates its rows.
            covariance.diagonal().add_(TOOLBOX_VARIANCE)
            return torch.corrcoef(covariance)
        return normalised(self.shrink(covariance))

    def shrink(self, covariance: Tensor) -> Tensor:
        """``S + a1 mean(diag S) I + a2 mean(off-diagonal S) (1 - I)``."""
        identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        # zeros do not count in the mean
        off = covariance * (1 - identity)
        mean_off = off.sum() / off.count_nonzero().clamp(min=1)
        added = self.diagonal * mean_variance(covariance) * identity
        return covariance + added + self.off_diagonal * mean_off * (1 - identity)

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        self.classes.update(F.normalize(x, dim=1) if self.form == "frozen" else x, labels)
        self.current = None

    def _inverted(self) -> tuple[Sequence[int], Tensor]:
        """Classes with a sample, and the inverses of all classes."""
        if self.current is not None and self.inverses is not None:
            return self.current, self.inverses
        if self.inverses is None:
            self.inverses = torch.zeros_like(self.classes.scatters)
            self.inverted = torch.zeros_like(self.count)
        for c in (self.count != self.inverted).nonzero().flatten().tolist():
            self.inverses[c] = pseudo_inverse(self.matrix(c))
        self.inverted = self.count.clone()
        self.current = classes = self.seen.nonzero().flatten().tolist()
        return classes, self.inverses

    def _scores(self, x: Tensor) -> Tensor:
        classes, inverses = self._inverted()
        v = F.normalize(x, dim=1)
        # Any number for unseen classes, whose scores are hidden.
        means, scores = self.means(), [v[:, 0]] * self.n_classes
        # One class at a time to save memory.
        for c in classes:
            # -(v - m_c) R_c^+ (v - m_c)^T
            difference = v - means[c]
            scores[c] = -((difference @ inverses[c]) * difference).sum(dim=1)
        return torch.stack(scores, dim=1)


def normalised(covariance: Tensor) -> Tensor:
    """Correlations (dim, dim); an entry without variance has 1 with itself, else 0."""
    variance = covariance.diagonal()
    varies = variance > 0
    deviation = torch.where(varies, variance, 1).sqrt()
    found = covariance / torch.outer(deviation, deviation)
    return found + torch.diag((~varies).to(found.dtype))


def pseudo_inverse(matrix: Tensor) -> Tensor:
    """Moore-Penrose inverse of a symmetric (dim, dim) matrix, by Cholesky where possible."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diagonal()
    # Rounding may make a singular matrix positive definite, with tiny pivots.
    sound = (info == 0) & (pivots.min() > 1e-5 * pivots.max())
    if bool(sound):
        return torch.cholesky_inverse(factor)
    return torch.linalg.pinv(matrix, hermitian=True)
