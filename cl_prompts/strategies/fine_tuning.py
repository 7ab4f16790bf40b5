"""Fine-tuning: every weight of the ViT learns. The baseline that forgets, and with all data at once the upper bound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from avalanche.benchmarks import CLExperience, DatasetExperience
from torch.optim import Optimizer

from cl_prompts.backbone import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models import PromptedViT
from cl_prompts.strategies.base import OnlineStrategy, need_backbone


class FineTuning(OnlineStrategy):
    """AdamW on all weights, slowly on the backbone and fast on the head; cross-entropy over the classes seen so far.

    The given backbone is copied, so one frozen backbone can serve other strategies at the same time.

    Args:
        backbone: the ViT to start from; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a :class:`~cl_prompts.models.PromptedViT` on a thawed backbone.
        backbone_lr: learning rate of the backbone; 0 keeps it frozen.
        weight_decay: of AdamW.
        **common: see :class:`~cl_prompts.strategies.base.OnlineStrategy`; ``lr`` is the head's.
    """

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: PromptedViT | None = None,
        backbone_lr: float = 1e-5,
        weight_decay: float = 0.01,
        **common: Any,
    ) -> None:
        if backbone_lr < 0 or weight_decay < 0:
            raise InputError(
                f"backbone_lr is {backbone_lr} and weight_decay is {weight_decay}: neither can be negative"
            )
        self.backbone_lr, self.weight_decay = backbone_lr, weight_decay
        if model is None:
            backbone, n_classes = need_backbone(backbone, n_classes)
            model = PromptedViT(backbone.thawed() if backbone_lr > 0 else backbone, n_classes)
        super().__init__(model=model, **common)

    def default_optimizer(self, model: PromptedViT, lr: float) -> Optimizer:
        """Two groups: backbone and head."""
        groups = [{"params": list(model.head.parameters()), "lr": lr}]
        if self.backbone_lr > 0:
            groups.append({"params": list(model.backbone.parameters()), "lr": self.backbone_lr})
        return torch.optim.AdamW(groups, weight_decay=self.weight_decay)


class Joint(FineTuning):
    """The i.i.d. upper bound: all experiences at once, shuffled, for several epochs.

    ``train`` takes the whole stream. With ``backbone_lr=0`` it is the upper bound of a linear probe.

    Args:
        train_epochs: passes over all data.
        online_iter: 1, since repeating a batch has no meaning here.
        **settings: see :class:`FineTuning`.
    """

    whole_stream = True

    def __init__(self, *, train_epochs: int = 5, online_iter: int = 1, **settings: Any) -> None:
        super().__init__(train_epochs=train_epochs, online_iter=online_iter, **settings)

    def train(
        self,
        experiences: CLExperience | Iterable[CLExperience],
        eval_streams: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Train on the union of ``experiences``, in random order."""
        parts = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        if not parts:
            raise InputError("there is nothing to train on: the stream has no experience")
        data = parts[0].dataset
        for part in parts[1:]:
            data = data.concat(part.dataset)
        union: Any = DatasetExperience(dataset=data, current_experience=0)
        union._origin_stream = parts[0].origin_stream
        for name in ("task_label", "task_labels"):
            if hasattr(parts[0], name):
                setattr(union, name, getattr(parts[0], name))
        return super().train(union, eval_streams, **{"shuffle": True, **kwargs})
