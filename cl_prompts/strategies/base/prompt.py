"""Bases of the prompt strategies: class mask of the loss, pull of keys to queries, start of a
task."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn

from cl_prompts.checks import Count, NotNegative, Positive
from cl_prompts.losses.classification import ClassMask
from cl_prompts.models.base import Output
from cl_prompts.prompts.init import Distribution
from cl_prompts.prompts.selectors import Selector
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.task_selectors import BatchwisePrompt
from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.head_alignment import HeadAlignment
from cl_prompts.training.seeds import derived_seed, seeded

Batchwise = Literal["off", "training", "always"]


class PromptStrategy(HeadAlignment):
    """Base of the prompt strategies: masked cross-entropy plus a term that trains keys.

    Loss of a mini-batch with queries q and selected keys k: ``CE - pull_weight * S``, with S the
    mean over images of the sum over selected keys of cos(q, k). Multi-label: binary cross-entropy
    over the annotated classes instead of CE.

    A prompt method declares its settings and builds a
    :class:`~cl_prompts.models.prompted.PromptedViT` in ``build_model``.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.models.prompted import PromptedViT
        >>> from cl_prompts.prompts.pools import SharedTokens
        >>> class OneToken(PromptStrategy):
        ...     def build_model(self, backbone, n_classes):
        ...         pool = SharedTokens((0,), 1, backbone.dim)
        ...         return PromptedViT(backbone, n_classes, pools=[pool])
        >>> OneToken(backbone=create_backbone(), n_classes=10, evaluator=None).model.n_learned
        1418
    """

    class_mask: ClassMask = "current"
    """As in the base, but ``"current"`` by default, as published."""
    online_iter: Count = 1
    """Updates per stream batch."""
    new_optimizer: bool = True
    """Start each announced task with fresh optimizer state."""
    pull_weight: NotNegative = 0.0
    """Weight lambda of the term that pulls keys to their queries."""

    def start_task(self, classes: Tensor) -> None:
        """Announce the task to the model: slots advance, components grow."""
        # New rows are drawn from the run's seed and the task alone, so that a resumed run draws the
        # same ones.
        with seeded(derived_seed(self.seed, self.tasks_started)):
            start_task(self.model, self.tasks_started - 1)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """The loss on labels, :meth:`prompt_loss`, and what the prompts bring along."""
        loss = super().training_loss(output, batch) + self.prompt_loss(output)
        return loss if output.prompt_loss is None else loss + output.prompt_loss

    def prompt_loss(self, output: Output) -> Tensor:
        """Terms of the loss that train the prompts and keys alone."""
        if output.selection is None or not self.pull_weight:
            return output.logits.new_zeros(())
        return -self.pull_weight * output.selection.match

    def after_step(self, output: Output, batch: Batch) -> None:
        """Count the selected prompts, of every repetition and replayed sample."""
        super().after_step(output, batch)
        if output.selection is not None:
            cast(Selector, self.model.selector).observe(output.selection)


class PoolStrategy(PromptStrategy):
    """Base of the methods that select prompts of a pool by keys, with the settings of their PyTorch
    ports.

    Example:
        >>> {name: PoolStrategy.settings()[name].default for name in ("initial", "train_epochs")}
        {'initial': 'uniform', 'train_epochs': 5}
    """

    initial: Distribution = "uniform"
    """Distribution of prompts and keys: ``"uniform"`` U(-1, 1) as the PyTorch ports, ``"small"``
    U[0, 0.01) as the JAX code, or ``"normal"``."""
    pull_weight: NotNegative = 1.0
    """Weight lambda of the term that pulls keys to their queries."""
    train_epochs: Count = 5
    """Passes over each experience."""
    clip_norm: Positive | None = 1.0
    """Bound on the gradient's global norm; None for none."""


def batchwise(selector: nn.Module, size: int, when: Batchwise) -> nn.Module:
    """Wrap the selector as a batchwise prompt, unless ``when`` is ``"off"`` (see
    :class:`~cl_prompts.prompts.task_selectors.BatchwisePrompt`)."""
    if when == "off":
        return selector
    return BatchwisePrompt(cast(Selector, selector), size, in_evaluation=when == "always")


def slots_for(pool_size: int | None, n_tasks: int | None) -> int:
    """Entries of a pool with one slot per task; 10 where neither is given."""
    return (n_tasks or 10) if pool_size is None else pool_size
