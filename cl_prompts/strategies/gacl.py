"""GACL: ridge regression on uniform random features, no gradient (NeurIPS 2024)."""

from cl_prompts.checks import Count, Positive, Size
from cl_prompts.closed_form.ridge import Expansion
from cl_prompts.strategies.ranpac import RanPACProbe


class GACL(RanPACProbe):
    """GACL, generalised analytic continual learning (NeurIPS 2024), as published for Si-Blurry.

    Source: Zhuang et al., arXiv 2403.15706. ``h = relu(f R)`` of the frozen class token f with
    R ~ U(-1/sqrt(dim), 1/sqrt(dim)), dim x ``projection``; ``W = (H'H + ridge I)^-1 H'Y`` with
    one-hot Y. The published recursion gives the same W; its "exposed class label gain" is part of
    the sum. It is RanPAC's estimator with another distribution of R and a fixed ridge: relu is
    homogeneous, so ``R -> s R`` is the same as ``ridge -> ridge / s^2``.

    Deviations: training images are not augmented, and each counts once. The published run fits one
    augmented view three times, which triples the weight of all samples and equals ``ridge=33.3``
    here. ``augmented_views=true`` counts ``online_iter`` different views.

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
