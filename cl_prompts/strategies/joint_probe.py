"""Joint probe: a linear head on frozen features, all data at once, i.i.d., several epochs."""

from __future__ import annotations

from cl_prompts.checks import Count, NotNegative
from cl_prompts.strategies.joint import Joint


class JointProbe(Joint):
    """The upper bound of methods on frozen features: a linear probe trained on all experiences at
    once, shuffled, for several epochs.

    :class:`~cl_prompts.strategies.joint.Joint` with ``backbone_lr=0`` and without weight decay. It
    is a bound for gradient methods on the frozen class token. A run shows it training images as
    test images are, like the ridges that it is compared to.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> probe = JointProbe(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> probe.model.n_learned, probe.model.backbone.trainable
        (1290, False)
    """

    excluded = ("backbone_lr",)
    plain_images = True

    backbone_lr: NotNegative = 0.0
    weight_decay: NotNegative = 0.0
    train_epochs: Count = 10
