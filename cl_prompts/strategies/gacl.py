"""GACL: ridge regression on uniform random features, no gradient (NeurIPS 2024)."""

from __future__ import annotations

from cl_prompts.checks import Count, Positive, Size
from cl_prompts.models.ridge import Expansion
from cl_prompts.strategies.ranpac import RanPACProbe

ALIASES = ("g_acil",)


class GACL(RanPACProbe):
    """GACL, generalised analytic continual learning (Zhuang et al., NeurIPS 2024, arXiv
    2403.15706), as published for Si-Blurry.

    ``h = relu(f R)`` of the frozen class token f with R ~ U(-1/sqrt(dim), 1/sqrt(dim)), dim x
    ``projection``; ``W = (H'H + ridge I)^-1 H'Y`` with one-hot Y. The published recursion gives the
    same W, and its "exposed class label gain" is what a sum does by itself. It is RanPAC's
    estimator: relu is homogeneous, so R's scale and the ridge are one setting, ``R -> s R`` is
    ``ridge -> ridge / s^2``; the distribution of R differs, and the ridge is not chosen.

    Deviations: training images are seen as test images are, and count once. The published run
    shows one augmented view and fits it three times, which triples the weight of all samples:
    ``ridge=33.3`` here. ``augmented_views=true`` counts ``online_iter`` different views.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> gacl = GACL(backbone=vit, n_classes=10, projection=100, evaluator=None, device="cpu")
        >>> float(gacl.model.head.ridge)
        100.0
    """

    plain_images = True

    projection: Count = 5000
    expansion: Expansion = "uniform"
    # The paper's gamma in all Si-Blurry runs.
    ridge: Positive = 100.0
    held_out: Size = 0
