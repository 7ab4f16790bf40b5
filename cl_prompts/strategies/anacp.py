"""AnaCP: closed-form projection of features to contrastive class targets (NeurIPS 2025)."""

from cl_prompts.checks import Count, Positive
from cl_prompts.closed_form.anacp import AnaCPForm, ContrastiveProjection, DrawnFrom, TargetSpace
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class AnaCP(PrototypeStrategy):
    """AnaCP, analytic contrastive projection (NeurIPS 2025), without first-session adaptation.

    Source: arXiv 2511.13880. Ridge regressions on random features map each class to a target, the
    class means pushed apart in the whitened space. The mean of their outputs is the aligned
    feature, which another ridge regression classifies. It learns from Gaussian pseudo-samples,
    since aligned features change with every solution. All formulas:
    :class:`~cl_prompts.closed_form.anacp.ContrastiveProjection`.

    Costs: each head stores projection^2 numbers, 200 MB at 5,000, and each checkpoint half as many;
    each evaluation solves ``heads`` + 1 systems of that size. Training batches are not scored.

    Deviations: the shared covariance is exact, and targets omit directions without variance
    (``form=released``: as published); every solution uses the same draws of pseudo-samples, so it
    does not depend on the number of evaluations.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> anacp = AnaCP(backbone=vit, n_classes=10, projection=50, evaluator=None, device="cpu")
        >>> len(anacp.model.head.heads)
        3
    """

    classifier = ContrastiveProjection

    projection: Count = 5000
    """Random features of each head and of the last regression."""
    heads: Count = 3
    """Heads whose outputs are averaged."""
    ridge: Positive = 100.0
    """Ridge of all regressions."""
    samples: Count = 100
    """Pseudo-samples per class."""
    drawn_from: DrawnFrom = "shared"
    """Covariance of pseudo-samples: ``"shared"``, or ``"class"``, dim^2 numbers per class."""
    # The released code multiplies by S^-1/2 again, where S^1/2 would map back to features.
    target_space: TargetSpace = "whitened"
    """``"features"`` maps targets back from the whitened space; ``"whitened"`` whitens twice."""
    form: AnaCPForm = "exact"
    """``"released"``: the published covariance and targets."""
    memory_gib: Positive = 4.0
    """Limit of the class matrices' memory in GiB; more is refused."""
