"""Joint probe: a linear head on frozen features, trained on all data at once."""

from cl_prompts.checks import Count, NotNegative
from cl_prompts.strategies.joint import Joint


class JointProbe(Joint):
    """A linear probe on all data at once; no upper bound where ten epochs are too few.

    :class:`~cl_prompts.strategies.joint.Joint` with ``backbone_lr=0`` and without weight decay. As
    for the ridges that it is compared to, a run does not augment its training images.

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
