"""Base of fine-tuning, replay and regularisation baselines: a linear head on a ViT."""

import torch
from torch.optim import Optimizer

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import NotNegative
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.online import OnlineStrategy


class HeadStrategy(OnlineStrategy):
    """Base of methods that train a linear head, and with ``backbone_lr`` > 0 the ViT as well.

    The ViT is trained on a copy, so strategies can share one frozen backbone. ``lr`` is the rate
    of the head.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> strategy = HeadStrategy(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> strategy.model.n_learned  # 10 rows of 128 weights and a bias
        1290
    """

    backbone_lr: NotNegative = 0.0
    """Learning rate of the backbone; 0 freezes it."""
    weight_decay: NotNegative = 0.0
    """Weight decay of AdamW; with 0 it is Adam."""

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build a linear head on the frozen ViT, or on a trainable copy of it."""
        vit = backbone.thawed() if self.backbone_lr > 0 else backbone
        return PromptedViT(vit, n_classes)

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Return AdamW with one group for the head and one for a trainable backbone."""
        others = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
        groups = [{"params": others, "lr": lr}]
        if self.backbone_lr > 0:
            groups.append({"params": list(model.backbone.parameters()), "lr": self.backbone_lr})
        return torch.optim.AdamW(groups, weight_decay=self.weight_decay)
