"""Symmetric cross-entropy: a bounded reverse term beside the usual one (SLCA++)."""

from cl_prompts.checks import NotNegative
from cl_prompts.losses.classification import reverse_cross_entropy
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin


class SymmetricLoss(StrategyPlugin):
    """Symmetric cross-entropy (Wang et al., ICCV 2019), as in SLCA++. One class per image.

    The cross-entropy of a method becomes ``forward_weight CE + reverse_weight RCE`` with
    :func:`~cl_prompts.losses.classification.reverse_cross_entropy`, both over the competing classes
    (``class_mask``). Other terms do not change. MVP, Rainbow Memory, DER++ and ER-ACE have another
    cross-entropy and get only the reverse term, over the whole batch. SLCA++: arXiv 2408.08295.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LinearProbe
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> probe = LinearProbe(**given, plugins=[SymmetricLoss()], device="cpu")
        >>> probe.plugin(SymmetricLoss).reverse_weight
        0.1
    """

    needs = "head"
    one_label = "is defined for one class per image"

    forward_weight: NotNegative = 1.0
    """Weight of the cross-entropy; ImageNet-R: 0.5."""
    reverse_weight: NotNegative = 0.1
    """Weight of the reverse one; ImageNet-R: 0.5."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Refuse a method without a cross-entropy of single classes."""
        self.check_head(strategy)
        if self.forward_weight != 1 and not (strategy.masks_classes and strategy.weighs_alike):
            raise self.refusal(
                f"cannot weigh the cross-entropy of {type(strategy).__name__}",
                "leave forward_weight at 1",
            )

    def before_backward(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Add the reverse term, and the change of weight of the cross-entropy."""
        batch = strategy.batch
        logits = strategy.competing_logits(strategy.output.logits, batch)
        term = self.reverse_weight * reverse_cross_entropy(logits, batch.labels)
        if self.forward_weight != 1:
            # The loss has the cross-entropy with weight 1 already.
            whole = strategy.label_loss(strategy.output.logits, batch)
            term = term + (self.forward_weight - 1) * whole
        strategy.loss = strategy.loss + term
