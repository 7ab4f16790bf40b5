"""What the strategies without gradients share: each sample of the stream is taken in once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.base import Output
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.models.prototype_classifiers import PrototypeClassifier
from cl_prompts.strategies.base.online import OnlineStrategy, need_backbone


def prototype_vit(
    make: Callable[..., PrototypeClassifier],
    backbone: FrozenViT | None,
    n_classes: int | None,
    device: str | torch.device,
    **settings: Any,
) -> PrototypeViT:
    """The model around ``make(dim, n_classes, dtype=..., **settings)``; ``device`` decides on the
    statistics' precision."""
    backbone, n_classes = need_backbone(backbone, n_classes)
    dtype = (
        torch.float32 if pick_device(device).type == "mps" else torch.float64
    )  # Apple's devices have no float64
    return PrototypeViT(backbone, make(backbone.dim, n_classes, dtype=dtype, **settings))


class PrototypeStrategy(OnlineStrategy):
    """Base of the prototype strategies: the step on a batch is to take its features into the
    classifier's statistics.

    There is no gradient and no optimizer step, though Avalanche's triggers fire as everywhere. A
    training batch costs one frozen forward, a test image one in all. The result depends neither on
    the order of the stream nor on its batches.

    The loss that is reported is a test before training: cross-entropy of the batch as scored
    *before* it is taken in, over its samples of classes that the classifier knows already.

    Settings of gradient descent (``lr``, ``optimizer``, ``schedule``, ``new_optimizer``,
    ``clip_norm``, ``class_mask``) have no effect here, and there is no replay: sums over the stream
    forget nothing. A plugin that adds past samples to batches makes these count again. Not defined
    for several classes per image.

    Args:
        model: a :class:`~cl_prompts.models.prototype.PrototypeViT`.
        training_scores: score training batches, for the loss and for Avalanche's training metrics;
            otherwise the loss is 0 and so are all logits in training.
        augmented_views: count every view of a sample as a sample: ``train_epochs`` x
            ``online_iter`` of them. Otherwise each sample is taken in once whatever these two say,
            since recipes set them for all strategies.
        train_epochs: without effect unless ``augmented_views``.
        online_iter: likewise.
        **common: see :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.

    Raises:
        InputError: a replay memory is asked for.
    """

    model: PrototypeViT

    def __init__(
        self,
        *,
        model: PrototypeViT,
        training_scores: bool = True,
        augmented_views: bool = False,
        train_epochs: int = 1,
        online_iter: int = 1,
        **common: Any,
    ) -> None:
        if common.get("buffer_size"):
            raise InputError(
                f"{type(self).__name__} keeps sums over the whole stream and replays nothing: leave"
                " buffer_size at 0"
            )
        if not augmented_views:
            train_epochs, online_iter = (
                min(train_epochs, 1),
                min(online_iter, 1),
            )  # 0 is refused as everywhere
        super().__init__(model=model, train_epochs=train_epochs, online_iter=online_iter, **common)
        self.training_scores = training_scores

    def forward(self) -> Tensor:
        """As everywhere, or features with logits 0 where training batches are not scored."""
        if self.training_scores or not self.is_training:
            return super().forward()
        features = self.model.features(self.mb_x)
        logits = features.new_zeros(len(features), self.model.n_classes)
        self.output = Output(self.model.hide_unseen(logits), features)
        return logits

    def training_loss(self) -> Tensor:
        """See the class."""
        if not self.training_scores:
            return torch.zeros((), device=self.device)
        known = self.model.head.seen[self.mb_y]
        losses = F.cross_entropy(self.mb_output, self.mb_y, reduction="none")
        return (losses * known).sum() / known.sum().clamp(min=1)

    def backward(self) -> None:
        """Nothing has a gradient."""

    def optimizer_step(self) -> None:
        """The batch is taken in."""
        assert self.output is not None
        self.model.head.update(self.output.features, self.mb_y)
