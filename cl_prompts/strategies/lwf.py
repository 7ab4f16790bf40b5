"""LwF: distillation from an earlier model, no buffer (ECCV 2016)."""

from cl_prompts.checks import Count
from cl_prompts.strategies.base.head_training import HeadStrategy
from cl_prompts.strategies.plugins.distillation import Distillation


class LwF(HeadStrategy):
    """Learning without forgetting (Li and Hoiem, ECCV 2016, arXiv 1606.09282). No buffer.

    ``L = CE(batch) + weight * KD``: a linear head with the plugin
    :class:`~cl_prompts.strategies.plugins.distillation.Distillation`, which has the formulas.

    Published settings (defaults): weight 0.2, T 2, frozen ViT, head by Adam 5e-3, batch 64, 3
    updates a batch. Deviations: the published teacher is the model of one batch ago
    (``teacher_from="batch"``), which preserves very little; the published code also distils
    untrained rows. Avalanche's LwF plugin is not used, since it copies its teacher at the end of
    every experience, announced or not.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> lwf = LwF(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> [type(plugin).__name__ for plugin in lwf.own_plugins]
        ['Distillation']
    """

    own_plugins = (Distillation(),)

    period: Count | None = 1000
    """Stream samples between two copies where no boundary is announced; None for never."""
