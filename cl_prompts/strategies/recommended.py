"""Recommended: balanced or multi-label ridge on the class tokens of the last half of blocks."""

from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.strategies.balanced_ridge import BalancedRidgeProbe
from cl_prompts.strategies.base.prototype import OF_GRADIENTS


class Recommended(BalancedRidgeProbe):
    """Method to start with: a ridge regression that needs no tuning.

    Features are the class tokens of the last half of the blocks, each after the final norm
    (``features=blocks:half``). With one class per image the classifier is that of
    :class:`~cl_prompts.strategies.balanced_ridge.BalancedRidgeProbe`, whose ridge comes from the
    data; with several it is the :class:`~cl_prompts.closed_form.multi_label_ridge.MultiLabelRidge`
    with a ridge of 100.

    Features and rules were fixed on held-out images of first tasks and of other classes:
    docs/methods/recommended.md.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> method = Recommended(backbone=vit, n_classes=10, evaluator=None, device="cpu")
        >>> type(method.model.head).__name__, method.model.head.dim  # 3 of 6 blocks
        ('PooledRidge', 384)
    """

    excluded = ("head", "ridge", *OF_GRADIENTS)

    features: str = "blocks:half"

    def make_classifier(self, dim: int, n_classes: int) -> PrototypeClassifier:
        """Make the classifier for the kind of labels."""
        if self.multi_label:
            return MultiLabelRidge(dim, n_classes)
        return super().make_classifier(dim, n_classes)
