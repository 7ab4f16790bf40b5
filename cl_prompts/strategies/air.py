"""AIR: ridge regression with equal class weights, no gradient (2024)."""

from cl_prompts.checks import Count, Positive
from cl_prompts.closed_form.balanced_ridge import BalancedRidge, BalanceOver
from cl_prompts.closed_form.ridge import Expansion
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class AIR(PrototypeStrategy):
    """AIR, analytic imbalance rectifier (Fang et al., 2024, arXiv 2408.10349), generalised form.

    GACL's ridge regression with equal total weight for every class:
    ``W = (sum_c v_c A_c + ridge I)^-1 [v_c s_c]_c`` with v_c proportional to 1 / count. All
    formulas: :class:`~cl_prompts.closed_form.balanced_ridge.BalancedRidge`.

    Memory: one matrix of ``projection``^2 numbers per class, 200 MB for 100 classes at 500, and
    half of it in every checkpoint. More than ``memory_gib`` is refused.

    Deviations: the known classes are those with a sample (``balance_over="range"``: as published,
    all up to the highest label); training images are not augmented, and each counts once.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> air = AIR(backbone=vit, n_classes=10, projection=100, evaluator=None, device="cpu")
        >>> tuple(air.model.head.grams.shape)
        (10, 100, 100)
    """

    classifier = BalancedRidge

    # With GACL's 5,000 features, the matrices of 100 classes would take 20 GB.
    projection: Count = 500
    """Random features."""
    expansion: Expansion = "uniform"
    """Distribution of R, see :class:`~cl_prompts.closed_form.ridge.RandomExpansion`."""
    ridge: Positive = 100.0
    """Ridge."""
    balance_over: BalanceOver = "seen"
    """Classes over which the mean weight is 1: ``"seen"`` or ``"range"``."""
    memory_gib: Positive = 4.0
    """Limit of the matrices' memory in GiB; more is refused."""
