"""Linear probe: a linear head on the frozen class token, trained online."""

from cl_prompts.strategies.base.head_training import HeadStrategy


class LinearProbe(HeadStrategy):
    """Linear head on the frozen class token: the baseline for prompts.

    It is trained with cross-entropy over the classes seen so far, or with ``multi_label`` one
    logistic regression per class. Cached features make it free at test time.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> probe = LinearProbe(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> probe.model.n_learned  # 10 rows of 128 weights and a bias
        1290
    """

    excluded = ("backbone_lr", "weight_decay")
