"""AnaCP: features led to contrastive class targets in closed form, no gradient (NeurIPS 2025)."""

from __future__ import annotations

from cl_prompts.checks import Count, Positive
from cl_prompts.models.anacp import AnaCP as Classifier
from cl_prompts.models.anacp import AnaCPForm, DrawnFrom, TargetSpace
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class AnaCP(PrototypeStrategy):
    """AnaCP, analytic contrastive projection (NeurIPS 2025, arXiv 2511.13880), without its
    first-session adaptation.

    Ridge regressions on random features lead each class to a target, the class means pushed apart
    in the whitened space; their mean is the aligned feature, on which a further ridge regression
    classifies. That one learns from Gaussian pseudo-samples, since aligned features change with
    every solution. All formulas: :class:`~cl_prompts.models.anacp.AnaCP`.

    Costs: each head holds projection^2 numbers, 200 MB at 5,000, and each checkpoint half as many;
    ``heads`` + 1 systems of that size are solved at each evaluation. Training batches are not
    scored unless ``training_scores`` is set.

    Deviations: the shared covariance is exact and directions without spread are left out of the
    targets (``form=released``: as published); pseudo-samples are the same draws at every solution,
    so that it does not depend on how often scores are asked for.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> anacp = AnaCP(backbone=vit, n_classes=10, projection=50, evaluator=None, device="cpu")
        >>> len(anacp.model.head.heads)
        3
    """

    classifier = Classifier
    plain_images = True

    projection: Count = 5000
    """Random features of each head and of the last regression."""
    heads: Count = 3
    """Heads whose outputs are averaged."""
    ridge: Positive = 100.0
    """Ridge of all regressions."""
    samples: Count = 100
    """Pseudo-samples of each class."""
    drawn_from: DrawnFrom = "shared"
    """Covariance of these; ``"class"``: the class's own, a matrix of dim^2 numbers a class."""
    # The released code multiplies by S^-1/2 again, where S^1/2 would lead back to features.
    target_space: TargetSpace = "whitened"
    """``"features"``: targets are led back from the whitened space, instead of whitened twice."""
    form: AnaCPForm = "exact"
    """``"released"``: the published covariance and targets."""
    memory_gib: Positive = 4.0
    """Refuse settings whose matrices of classes take more, in GiB."""
    # Scoring a batch would solve heads + 1 systems of projection^2 numbers each time.
    training_scores: bool = False
