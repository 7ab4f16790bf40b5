"""Balanced ridge: regression with equal class weights and one shared covariance."""

from cl_prompts.checks import Positive
from cl_prompts.closed_form.pooled_ridge import FoundRidge, PooledRidge
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class BalancedRidgeProbe(PrototypeStrategy):
    """Class-balanced ridge regression on frozen features, with one covariance within classes.

    With ``x = [f, 1]``: ``W = (A + ridge mean(diag A) I)^-1 [mu_c / K]`` and ``A = Sw + sum_c mu_c'
    mu_c / K``, with the means mu_c of the K seen classes and the covariance Sw within classes. All
    formulas: :class:`~cl_prompts.closed_form.pooled_ridge.PooledRidge`. A blurry stream shows
    unequal numbers of samples per class; here classes have equal weight, as in
    :class:`~cl_prompts.strategies.air.AIR`, with one matrix instead of one per class. Not a
    published method under this name.

    Each solution selects the ridge of greatest evidence, computed from the same sums.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> probe = BalancedRidgeProbe(backbone=vit, n_classes=10, evaluator=None, device="cpu")
        >>> tuple(probe.model.head.scatter.shape)
        (128, 128)
    """

    classifier = PooledRidge

    ridge: Positive | FoundRidge = "evidence"
    """Ridge relative to the mean square of an input; ``"evidence"`` selects it from the data."""
