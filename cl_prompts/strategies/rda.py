"""RDA: discriminant analysis with low-rank class covariances, no gradient."""

from cl_prompts.checks import Positive, Size
from cl_prompts.closed_form.discriminant import RegularisedDiscriminant
from cl_prompts.closed_form.pooled_ridge import FoundRidge
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class RDA(PrototypeStrategy):
    """Regularised discriminant analysis (Friedman, JASA 1989) on frozen features, with a covariance
    of low rank for each class beside the pooled one (LR-RGDA, arXiv 2602.00144).

    Score of class c: ``-1/2 [(x - mu_c)' S_c^-1 (x - mu_c) + log det S_c]``, ``S_c = Sw + b t I +
    a_c V_c' V_c``. All formulas:
    :class:`~cl_prompts.closed_form.discriminant.RegularisedDiscriminant`.

    Deviations from LR-RGDA: a frozen backbone; class covariances stream as sketches; a and b are
    found from the data.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> rda = RDA(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(rda.model.head.sketches.rows.shape)
        (10, 8, 128)
    """

    classifier = RegularisedDiscriminant

    rank: Size = 8
    """Rank r of the class covariances, exact from the feature width on; 0: linear discriminant
    analysis with equal priors."""
    ridge: Positive | FoundRidge = "evidence"
    """Ridge b relative to the mean variance within classes; ``"evidence"``: that of
    ``balanced_ridge`` on the same sums."""
