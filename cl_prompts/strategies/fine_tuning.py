"""Fine-tuning: all weights of the ViT are trained, with a small learning rate."""

from cl_prompts.checks import NotNegative
from cl_prompts.strategies.base.head_training import HeadStrategy


class FineTuning(HeadStrategy):
    """Fine-tuning of all weights: the baseline that forgets.

    AdamW with a small learning rate on the backbone and a large one on the head; cross-entropy over
    the classes seen so far.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> tuned = FineTuning(backbone=vit, n_classes=10, evaluator=None, device="cpu")
        >>> vit.trainable, tuned.model.backbone.trainable  # a copy is trained
        (False, True)
    """

    backbone_lr: NotNegative = 1e-5
    weight_decay: NotNegative = 0.01
