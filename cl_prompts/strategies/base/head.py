"""What fine-tuning and the replay and regularisation baselines share: a linear head on a ViT that
stays frozen or learns."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.online import OnlineStrategy, need_backbone


def head_model(
    backbone: FrozenViT | None,
    n_classes: int | None,
    *,
    backbone_lr: float,
    multi_label: bool = False,
) -> PromptedViT:
    """A linear head on the class token, of the frozen ViT or, with ``backbone_lr`` > 0, of a
    trainable copy of it."""
    backbone, n_classes = need_backbone(backbone, n_classes)
    return PromptedViT(
        backbone.thawed() if backbone_lr > 0 else backbone, n_classes, multi_label=multi_label
    )


class HeadStrategy(OnlineStrategy):
    """Base of methods that train a linear head, and with ``backbone_lr`` > 0 the ViT underneath;
    one class per image.

    The given backbone is never changed: what learns is a copy.

    Args:
        backbone: the ViT to start from; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a :class:`~cl_prompts.models.prompted.PromptedViT`.
        backbone_lr: learning rate of the backbone; 0 keeps it frozen.
        weight_decay: of AdamW, which without it is Adam.
        **common: see :class:`~cl_prompts.strategies.base.online.OnlineStrategy`; ``lr`` is the
            head's.

    Raises:
        InputError: a negative number, a multi-label model, or no memory where the method needs one.
    """

    model: PromptedViT
    learns_several_labels = False
    """Whether the method has a multi-label form."""
    needs_buffer = False
    """Whether the method is nothing without a replay memory."""

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: PromptedViT | None = None,
        backbone_lr: float = 0.0,
        weight_decay: float = 0.0,
        buffer_size: int = 0,
        **common: Any,
    ) -> None:
        name = type(self).__name__
        if not (backbone_lr >= 0 and weight_decay >= 0):
            raise InputError(
                f"backbone_lr is {backbone_lr} and weight_decay is {weight_decay}: neither can be"
                " negative"
            )
        if self.needs_buffer and buffer_size < 1:
            raise InputError(
                f"buffer_size of {name} is {buffer_size}: it learns from its memory and needs at"
                " least 1"
            )
        if model is None:
            model = head_model(backbone, n_classes, backbone_lr=backbone_lr)
        if model.multi_label and not self.learns_several_labels:
            raise InputError(
                f"{name} is defined for one class per image: give it a model that is not"
                " multi-label"
            )
        self.backbone_lr, self.weight_decay = backbone_lr, weight_decay
        super().__init__(model=model, buffer_size=buffer_size, **common)

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Two groups: everything else and the backbone."""
        groups = [
            {
                "params": [
                    p for name, p in model.named_parameters() if not name.startswith("backbone.")
                ],
                "lr": lr,
            }
        ]
        if self.backbone_lr > 0:
            groups.append({"params": list(model.backbone.parameters()), "lr": self.backbone_lr})
        return torch.optim.AdamW(groups, weight_decay=self.weight_decay)
