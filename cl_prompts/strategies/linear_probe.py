"""Linear probe: a linear head on the frozen class token, trained online. What any prompt has to
beat."""

from __future__ import annotations

from typing import Any

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.online import OnlineStrategy, need_backbone


class LinearProbe(OnlineStrategy):
    """Only the head learns, with cross-entropy over the classes seen so far. At test time stored
    features make it free.

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a :class:`~cl_prompts.models.prompted.PromptedViT` without
            prompts.
        multi_label: learn several classes per image, each by a logistic regression of its own.
        **common: see :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
    """

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: PromptedViT | None = None,
        multi_label: bool = False,
        **common: Any,
    ) -> None:
        if model is None:
            model = PromptedViT(*need_backbone(backbone, n_classes), multi_label=multi_label)
        super().__init__(model=model, **common)
