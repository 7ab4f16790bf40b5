"""Recommended: LDA pooled with ridge regression on the class tokens of the last half of blocks."""

from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.ridge_lda import RidgeLDA
from cl_prompts.strategies.base.prototype import OF_GRADIENTS, PrototypeStrategy


class Recommended(PrototypeStrategy):
    """Method to start with: closed forms that need no tuning.

    Features are the class tokens of the last half of the blocks, each after the final norm
    (``features=blocks:half``). With one class per image the classifier is a
    :class:`~cl_prompts.closed_form.ridge_lda.RidgeLDA`, whose strength of regularisation comes from
    leave-one-out scores; with several it is the
    :class:`~cl_prompts.closed_form.multi_label_ridge.MultiLabelRidge`, whose ridge does.

    Features and rules were fixed on held-out images of first tasks and of other classes:
    docs/methods/recommended.md.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> method = Recommended(backbone=vit, n_classes=10, evaluator=None, device="cpu")
        >>> type(method.model.head).__name__, method.model.head.dim  # 3 of 6 blocks
        ('RidgeLDA', 384)
    """

    excluded = ("head", *OF_GRADIENTS)

    features: str = "blocks:half"

    def make_classifier(self, dim: int, n_classes: int) -> PrototypeClassifier:
        """Make the classifier for the kind of labels."""
        if self.multi_label:
            return MultiLabelRidge(dim, n_classes, ridge="leave_one_out")
        return RidgeLDA(dim, n_classes)
