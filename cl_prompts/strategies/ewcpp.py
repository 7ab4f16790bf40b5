"""EWC++: replay, and a penalty on moving important parameters (ECCV 2018)."""

from __future__ import annotations

from cl_prompts.checks import Count, Size
from cl_prompts.strategies.base.head_training import HeadStrategy
from cl_prompts.strategies.plugins.ewc import EWC

ALIASES = ("ewc++", "ewc")


class EWCPlusPlus(HeadStrategy):
    """EWC++ (Chaudhry et al., ECCV 2018, arXiv 1801.10112) on top of experience replay, as in the
    Si-Blurry code.

    ``L = CE(stream and buffer) + reg_coef * sum_p importance_p (p - anchor_p)^2``: a linear head
    with a reservoir and the plugin :class:`~cl_prompts.strategies.plugins.ewc.EWC`. Multi-label:
    the first term is binary cross-entropy.

    Published settings (defaults): reg_coef 100, the rest as in experience replay. Deviations from
    the published code: it consolidates at the ends of tasks that the stream does not announce
    (``boundaries=True`` does so here); it anchors all parameters but the last two tensors, none at
    all on a frozen ViT, while here the head is anchored; it makes two steps a batch with gradients
    of the first left in the second. See :class:`~cl_prompts.training.ewc.OnlineEWC`. Avalanche's
    own EWC computes its Fisher in a pass of its own at each task's end and keeps one anchor per
    task.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> method = EWCPlusPlus(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> method.plugin(EWC).reg_coef
        100.0
    """

    own_plugins = (EWC(),)

    period: Count | None = 1000
    """Stream samples between two consolidations where no boundary is announced; None for never."""
    buffer_size: Size = 2000
    """Samples in the reservoir; 0 leaves the penalty alone."""
