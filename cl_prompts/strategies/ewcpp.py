"""EWC++: replay and a penalty on changes of important parameters (ECCV 2018)."""

from cl_prompts.checks import Count, Size
from cl_prompts.strategies.base.head_training import HeadStrategy
from cl_prompts.strategies.plugins.ewc import EWC


class EWCPlusPlus(HeadStrategy):
    """EWC++ (Chaudhry et al., ECCV 2018) with experience replay, as in the Si-Blurry code.

    Source: arXiv 1801.10112. ``L = CE(stream and buffer) + reg_coef * sum_p importance_p (p -
    anchor_p)^2``: a linear head with a reservoir and the plugin
    :class:`~cl_prompts.strategies.plugins.ewc.EWC`. With several labels the first term is binary
    cross-entropy.

    Published settings (defaults): reg_coef 100, others as in experience replay. Deviations: the
    published code consolidates at task ends that the stream does not announce (here with
    ``boundaries=True``); it anchors all parameters but the last two tensors, so none on a frozen
    ViT (here the head); it makes two steps per batch, the second with the gradients of the first
    added. See :class:`~cl_prompts.training.ewc.OnlineEWC`. Avalanche's EWC computes its Fisher in a
    separate pass at each task's end and stores one anchor per task.

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
    """Samples in the reservoir; 0 for the penalty without replay."""
