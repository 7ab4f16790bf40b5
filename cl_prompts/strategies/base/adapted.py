"""Base of the strategies with adapters and prototypes, which know their tasks' boundaries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from cl_prompts.backbones import ranks
from cl_prompts.backbones.pixels import image_check
from cl_prompts.checks import Count, NotNegative, Positive, Share
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.stream import (
    Batch,
    RepeatedBatches,
    joined_batch,
    keyed_loader,
)
from cl_prompts.training.schedules import Schedule
from cl_prompts.training.seeds import derived_seed, seeded


class AdapterStrategy(OnlineStrategy):
    """Base of APER and EASE: adapters learn through a proxy head, prototypes are taken when a task
    ends, in a further pass over its images. One class per image.

    Settings are those of the published code for CIFAR-100: SGD with momentum 0.9, cosine schedule
    per epoch, 20 epochs of batches of 48. There is no replay, and the proxy head has a form of its
    own, so that its settings do not exist.

    Dropout is drawn from the run's seed and the number of updates, so that a resumed run draws the
    same.

    Deviation: prototypes are means of images as the stream gives them, augmented where the data set
    augments; published: without augmentation.

    Raises:
        InputError: a replay buffer, or a stream without announced boundaries.

    Example:
        >>> AdapterStrategy.settings()["bottleneck"].default
        64
    """

    withdrawn: ClassVar[tuple[str, ...]] = ("multi_label", "compile", "head")
    keeps = "prototypes"
    of_optimizer: ClassVar[tuple[str, ...]] = ("momentum", "weight_decay")

    bottleneck: Count = 64
    """Width r of an adapter's hidden layer."""
    adapter_scale: Positive = 0.1
    """Factor s on what an adapter adds."""
    dropout: Share = 0.1
    """Dropout on an adapter's hidden layer."""
    momentum: Share = 0.9
    """Momentum of SGD."""
    weight_decay: NotNegative = 5e-4
    """Weight decay of SGD."""
    train_mb_size: Count = 48
    train_epochs: Count = 20
    """Passes over each experience that trains adapters."""
    online_iter: Count = 1
    schedule: Schedule = "cosine"
    new_optimizer: bool = True

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """SGD with momentum and weight decay."""
        trained = [p for p in model.parameters() if p.requires_grad]
        return torch.optim.SGD(
            [{"params": trained}], lr, momentum=self.momentum, weight_decay=self.weight_decay
        )

    def check_announced(self, *, announced: bool) -> None:
        """Refuse a stream that announces no boundaries."""
        super().check_announced(announced=announced)
        if not announced:
            raise InputError(
                f"{type(self).__name__} trains adapters task by task, and this stream announces no"
                " boundaries: use a class-incremental stream, or boundaries=True to be told them"
            )

    def start_task(self, classes: Tensor) -> None:
        """Fix the adapters of earlier tasks."""
        start_task(self.model, self.tasks_started - 1)

    def training_output(self, batch: Batch) -> Output:
        """Run the model, with dropout from the seed."""
        with seeded(derived_seed(self.seed, self.updates)):
            return super().training_output(batch)

    @torch.no_grad()
    def task_features(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass over all images of the task that ends: features (batch, subspaces, dim) as in
        evaluation, and labels (batch,)."""
        data = whole_of(self.experience).dataset
        batches = RepeatedBatches(len(data), self.eval_mb_size, repeats=1)
        batches.origin = self.samples_seen  # views of their own, where images are augmented
        batches.shared = ranks.is_distributed()
        check = image_check(self.model)
        training = self.model.training
        # Prototypes are of the adapters as tests run them, without dropout.
        self.model.eval()
        starts = range(0, len(data), self.eval_mb_size)
        loader = keyed_loader(data, batches, check=check, device=self.device)
        for read, start in zip(loader, starts, strict=True):
            size = min(self.eval_mb_size, len(data) - start)
            images, labels, *_ = joined_batch(read, size, self.device)
            features = self.model.encode(images.to(self.device), {}).features
            yield features, labels.to(self.device)
        self.model.train(training)
