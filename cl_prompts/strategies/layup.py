"""LayUP: ridge regression on the class tokens of several blocks, no gradient (TMLR 2024)."""

from __future__ import annotations

import torch

from cl_prompts.checks import Positive, Size
from cl_prompts.models.layup import RIDGES, LayUP
from cl_prompts.models.multi_label_ridge import MultiLabelRidge
from cl_prompts.models.prototype_classifiers import SolvedClassifier
from cl_prompts.strategies.ranpac import RanPACProbe


class LayUPProbe(RanPACProbe):
    """LayUP, "Read Between the Layers" (Ahrens et al., TMLR 2024, arXiv 2312.08888), without its
    first phase, as a probe of frozen features.

    Ridge regression of one-hot labels on ``h = [class token of block b : the last 6 blocks]``, as
    the blocks leave them: ``W = (G + ridge I)^-1 Q`` with ``G += h' h`` and ``Q += h' Y``. The
    ridge is chosen anew at each announced task end, or every ``period`` samples, by four-fold
    cross-validation on the samples since the last choice
    (:class:`~cl_prompts.models.layup.LayUP`).

    Several classes an image: the :class:`~cl_prompts.models.multi_label_ridge.MultiLabelRidge` on
    h, whose ridge is the candidate of least squared error on ``held_out`` samples; not published.

    Deviations: the paper may first tune adapters, scales or prompts on the first task, and keeps
    the epoch that is best on its *test* images; sums are float64; classes not seen yet are masked,
    whose column of zeros wins in the published code where all other scores are negative.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> layup = LayUPProbe(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> layup.model.head.dim  # six blocks of width 128
        768
    """

    excluded = (*RanPACProbe.excluded, "projection", "expansion")
    candidates = RIDGES
    plain_images = True

    # k = 6, each block's output in front of the final norm, the last one's, too.
    features: str = "raw_blocks:6"
    intercept: bool = False
    """Append a constant 1 to the features; the ridge acts on its coefficient, too. With several
    classes an image there always is one."""
    ridge: Positive = 100.0
    held_out: Size = 1000
    """Samples since the last choice whose features are kept for the next one. 0: the ridge is not
    chosen."""

    def make_classifier(self, dim: int, n_classes: int, dtype: torch.dtype) -> SolvedClassifier:
        """Ridge regression on the features of all blocks."""
        shared = self.values_of("ridge", "held_out", "seed")
        if self.multi_label:
            return MultiLabelRidge(dim, n_classes, dtype=dtype, **shared)
        return LayUP(dim, n_classes, dtype=dtype, intercept=self.intercept, **shared)
