"""LayUP: ridge regression whose ridge is cross-validated on each task."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cl_prompts.closed_form.ranpac import RanPAC
from cl_prompts.closed_form.ridge import solutions

#: Published candidates, in the published order.
RIDGES = (*(10.0 ** (k / 2) for k in range(-8, 7)), 1e-8)

FOLDS = 4


class LayUP(RanPAC):
    """LayUP's classifier (Ahrens et al., TMLR 2024, arXiv 2312.08888).

    RanPAC's estimator on concatenated features h of several blocks, without random features: ``G +=
    h' h``, ``Q += h' Y``, ``W = (G + ridge I)^-1 Q``. The ridge is chosen by accuracy in four-fold
    cross-validation on the samples since the last choice; all earlier samples are in the training
    part of each fold. Accuracies often tie, and the first of the best candidates wins, as
    published: the ridge jumps by orders of magnitude from task to task.

    Args:
        **settings: of :class:`~cl_prompts.closed_form.ranpac.RanPAC`; ``held_out`` (1,000) samples
            are a uniform sample of those since the last choice, published: all; ``ridge`` is 100.

    Example:
        >>> layup = LayUP(4, 3, held_out=100)
        >>> layup.update(torch.eye(4).repeat(5, 1), torch.tensor([0, 1, 2, 2]).repeat(5))
        >>> layup.choose_ridge()
        0.0001
    """

    def __init__(self, dim: int, n_classes: int, **settings: Any) -> None:
        own = {"expansion": None, "ridge": 100.0, "held_out": 1000}
        super().__init__(dim, n_classes, **own | settings)

    @torch.no_grad()
    def choose_ridge(  # type: ignore[override]
        self, candidates: Sequence[float] = RIDGES
    ) -> float:
        """Choose the ridge, use it from now on, and clear the held-out sample.

        Without a class of at least four samples the ridge stays unchanged.
        """
        counts = self.held.samples[1].sum(dim=0)
        if bool((counts >= FOLDS).any()):
            accuracy = self.fold_accuracies(candidates).mean(dim=0)
            # argmax of a boolean: the first of the best
            self.ridge.fill_(candidates[int((accuracy == accuracy.max()).int().argmax())])
            self.weight = None
        self.held.clear()
        return float(self.ridge)

    @torch.no_grad()
    def fold_accuracies(self, candidates: Sequence[float] = RIDGES) -> Tensor:
        """(folds, candidates) accuracy on each fold; 0 where a system cannot be solved."""
        features, onehot = self.held.samples
        h, labels = self.statistics.inputs(features), onehot.argmax(dim=1)
        found = h.new_zeros(FOLDS, len(candidates))
        for fold, rows in enumerate(stratified_folds(labels)):
            test = rows.to(h.device)
            # G and Q of all samples but the fold's
            gram = self.statistics.gram.addmm(h[test].T, h[test], alpha=-1)
            cross = self.statistics.cross.addmm(h[test].T, onehot[test], alpha=-1)
            for i, weight in solutions(gram, cross, candidates):
                right = (h[test] @ weight).argmax(dim=1) == labels[test]
                found[fold, i] = right.to(found.dtype).mean()
        return found


def stratified_folds(labels: Tensor) -> list[Tensor]:
    """Rows of each fold, stratified by class and in the order of the labels (n,)."""
    from sklearn.model_selection import StratifiedKFold  # here, since the import takes a second

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer samples than folds
        folds = StratifiedKFold(FOLDS).split(labels.cpu(), labels.cpu())
        return [torch.from_numpy(rows) for _, rows in folds]
