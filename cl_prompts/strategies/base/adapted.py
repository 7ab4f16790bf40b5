"""Base of the task-aware strategies with adapters and prototypes."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive, Share
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.prompts.task_adapters import TaskAdapters
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.seeds import derived_seed, seeded
from cl_prompts.strategies.base.experience import unannounced
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.training.rates import Schedule


class AdapterStrategy(OnlineStrategy):
    """Base of APER and EASE: adapters learn with a proxy head, then prototypes classify.

    At the end of a task, another pass over its images computes the prototypes. One class per
    image. Settings are those of the published code for CIFAR-100: SGD with momentum 0.9, cosine
    schedule per epoch, 20 epochs, batches of 48. There is no replay, and the proxy head has no
    settings. Dropout depends on the run's seed and the number of updates, so a resumed run draws
    the same.

    Deviation: prototypes are means of training images as the stream augments them; published:
    without augmentation.

    Raises:
        InputError: a replay buffer is set, or the stream announces no boundaries.

    Example:
        >>> AdapterStrategy.settings()["bottleneck"].default
        64
    """

    excluded: ClassVar[tuple[str, ...]] = ("multi_label", "head")
    keeps = "prototypes"

    bottleneck: Count = 64
    """Width r of an adapter's hidden layer."""
    adapter_scale: Positive = 0.1
    """Factor s on an adapter's output."""
    dropout: Share = 0.1
    """Dropout on an adapter's hidden layer."""
    momentum: Share = 0.9
    """Momentum of SGD."""
    weight_decay: NotNegative = 5e-4
    """Weight decay of SGD."""
    train_mb_size: Count = 48
    train_epochs: Count = 20
    """Epochs of each experience that trains adapters."""
    online_iter: Count = 1
    schedule: Schedule = "cosine"
    new_optimizer: bool = True

    def make_adapters(
        self, backbone: FrozenViT, n_tasks: int, *, spare: bool = False
    ) -> TaskAdapters:
        """Build the adapters of the tasks."""
        return TaskAdapters(
            n_tasks,
            backbone.depth,
            backbone.dim,
            scale=self.adapter_scale,
            spare=spare,
            **self.values_of("bottleneck", "dropout"),
        )

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Return SGD with momentum and weight decay."""
        trained = [p for p in model.parameters() if p.requires_grad]
        return torch.optim.SGD(
            [{"params": trained}], lr, momentum=self.momentum, weight_decay=self.weight_decay
        )

    def check_announced(self, *, announced: bool) -> None:
        """Refuse a stream that announces no boundaries."""
        super().check_announced(announced=announced)
        if not announced:
            instead = "use a class-incremental stream or boundaries=True"
            raise unannounced(type(self).__name__, instead)

    def start_task(self, classes: Tensor) -> None:
        """Freeze the adapters of earlier tasks."""
        start_task(self.model, self.tasks_started - 1)

    def training_output(self, batch: Batch) -> Output:
        """Run the model, with seeded dropout."""
        with seeded(derived_seed(self.seed, self.updates)):
            return super().training_output(batch)
