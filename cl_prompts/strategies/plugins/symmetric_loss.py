"""Symmetric cross-entropy: a bounded reverse term beside the usual one (SLCA++)."""

from __future__ import annotations

from typing import Any

from cl_prompts.checks import NotNegative
from cl_prompts.losses.classification import reverse_cross_entropy
from cl_prompts.strategies.base.plugin import StrategyPlugin


class SymmetricLoss(StrategyPlugin):
    """Symmetric cross-entropy (Wang et al., ICCV 2019), which SLCA++ (arXiv 2408.08295) trains
    representations with. One class per image.

    The cross-entropy of a method becomes ``forward_weight CE + reverse_weight RCE`` with the
    :func:`~cl_prompts.losses.classification.reverse_cross_entropy`, both over the classes that
    compete (``class_mask``). Other terms of the method stay as they are. MVP, Rainbow Memory,
    DER++ and ER-ACE, whose cross-entropy is another one, take the reverse term alone, over the
    whole batch.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LinearProbe
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> probe = LinearProbe(**given, plugins=[SymmetricLoss()], device="cpu")
        >>> probe.plugin(SymmetricLoss).reverse_weight
        0.1
    """

    needs = "head"
    one_label = "is for exclusive classes, and several labels an image have a logistic loss each"

    forward_weight: NotNegative = 1.0
    """Weight of the cross-entropy; ImageNet-R: 0.5."""
    reverse_weight: NotNegative = 0.1
    """Weight of the reverse one; ImageNet-R: 0.5."""

    def attach(self, strategy: Any) -> None:
        """Refuse a method without a cross-entropy of single classes."""
        self.check_head(strategy)
        if self.forward_weight != 1 and not (strategy.masks_classes and strategy.weighs_alike):
            raise self.refusal(
                "weighs a cross-entropy over the classes that compete, and"
                f" {type(strategy).__name__} has another one",
                "leave forward_weight at 1",
            )

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add what the terms lack."""
        batch = strategy.batch
        logits = strategy.competing_logits(strategy.output.logits, batch)
        term = self.reverse_weight * reverse_cross_entropy(logits, batch.labels)
        if self.forward_weight != 1:
            # The strategy has added its cross-entropy with weight 1 already.
            whole = strategy.label_loss(strategy.output.logits, batch)
            term = term + (self.forward_weight - 1) * whole
        strategy.loss = strategy.loss + term
