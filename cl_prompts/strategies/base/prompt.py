"""Base of the prompt strategies: rates, form of prompts, pull of keys to queries, start of a
task."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cl_prompts.checks import Count, NotNegative, Positive
from cl_prompts.losses.classification import ClassMask
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.prompts.parameterisations import Decomposed
from cl_prompts.prompts.selectors import Distribution, Selector
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.task_selectors import BatchwisePrompt
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.prompt_form import prompt_forms
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.training.seeds import derived_seed, seeded

Batchwise = Literal["off", "training", "always"]

#: Stream samples of a batch that ``lr_scaling="batch/256"`` leaves rates as they are for.
UNIT_BATCH = 256


class PromptStrategy(OnlineStrategy):
    """Base of the prompt strategies: masked cross-entropy plus a term that trains keys.

    Loss of a mini-batch with queries q and selected keys k: ``CE - pull_weight * S``, with S the
    mean over images of the sum over selected keys of cos(q, k). Multi-label: binary cross-entropy
    over the annotated classes instead of CE.

    A prompt method declares its settings and builds a
    :class:`~cl_prompts.models.prompted.PromptedViT` in ``build_model``. Parameters that come while
    the stream runs, such as those of a new lane or task, enter the optimizer's group of their kind;
    schedules multiply each group's own rate.

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

    of_optimizer: ClassVar[tuple[str, ...]] = ("prompt_lr", "lr_scaling")

    class_mask: ClassMask = "current"
    online_iter: Count = 1
    new_optimizer: bool = True
    pull_weight: NotNegative = 0.0
    """Weight lambda of the term that pulls keys to their queries, where there are any."""
    prompt_lr: Positive | None = None
    """Learning rate of prompts, keys, selectors and all else but the head; None: that of the head,
    ``lr``."""
    lr_scaling: Literal["none", "batch/256"] = "none"
    """``"none"``, rates are as given; ``"batch/256"``: all rates are multiplied by
    ``train_mb_size / 256``, as the published code of L2P, its descendants and MULTI-LANE does with
    the rates of their scripts."""
    prompt_form: Any = None
    """Another form of prompts than the method's: :class:`Encoded`, :class:`Decomposed`, or both in
    a list; None for the method's own."""

    def fit_model(self, model: ContinualModel) -> None:
        """Give a model that was just built head and form of prompts."""
        super().fit_model(model)
        for form in prompt_forms(self.prompt_form):
            form.apply(model, type(self).__name__)

    # ------------------------------------------------------------------ rates

    def is_head(self, name: str) -> bool:
        """Whether a parameter of the model, by its name, belongs to the head."""
        # MVP's logit masks act on logits, as the head's weights do.
        return name.startswith(("head.", "logit_mask."))

    def group_rates(self) -> list[float]:
        """Unscaled rates of the optimizer's groups: of all, or of head and prompts."""
        return [self.lr] if self.prompt_lr is None else [self.lr, self.prompt_lr]

    def group_of(self, name: str) -> int:
        """Number of the optimizer's group that a parameter belongs to."""
        return 0 if self.prompt_lr is None or self.is_head(name) else 1

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Adam without weight decay, with a group for each rate."""
        # Linear scaling of published rates, which are given for a batch of UNIT_BATCH images.
        scale = 1.0 if self.lr_scaling == "none" else self.train_mb_size / UNIT_BATCH
        groups: list[dict[str, object]] = []
        for i, rate in enumerate(self.group_rates()):
            mine = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad and self.group_of(name) == i
            ]
            groups.append({"params": mine, "lr": rate * scale})
        return torch.optim.Adam(groups, lr * scale)

    # ------------------------------------------------------------------ tasks

    @property
    def routed(self) -> bool:
        """Whether an analytic router chooses prompts: its plugin starts experts, and no key is
        trained."""
        return isinstance(self.model.selector, AnalyticRouter)

    def start_task(self, classes: Tensor) -> None:
        """Announce the task to the model: slots advance, components grow."""
        if self.routed:
            return
        # New rows are drawn from the run's seed and the task alone, so that a resumed run draws the
        # same ones.
        with seeded(derived_seed(self.seed, self.tasks_started)):
            start_task(self.model, self.tasks_started - 1)

    def finish_task(self) -> None:
        """Fold an update of tokens into a constant; the next one begins without momentum."""
        for pool in getattr(self.model, "pools", ()):
            if isinstance(pool, Decomposed):
                pool.bake()
                for parameter in (pool.a, pool.b):
                    self.optimizer.state.pop(parameter, None)

    # ------------------------------------------------------------------ one update

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """:meth:`classification_loss`, :meth:`prompt_loss`, and terms that the prompts bring
        along."""
        loss = self.classification_loss(output, batch) + self.prompt_loss(output)
        return loss if output.prompt_loss is None else loss + output.prompt_loss

    def classification_loss(self, output: Output, batch: Batch) -> Tensor:
        """The loss on labels: by default :meth:`label_loss`."""
        return super().training_loss(output, batch)

    def prompt_loss(self, output: Output) -> Tensor:
        """Terms of the loss that train the prompts and keys alone."""
        if output.selection is None or self.routed or not self.pull_weight:
            return output.logits.new_zeros(())
        # The surrogate loss of keys: - lambda S, with S a sum of cosines.
        return -self.pull_weight * output.selection.match

    def after_step(self, output: Output, batch: Batch) -> None:
        """Count the selected prompts, of every repetition and replayed sample."""
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
    train_epochs: Count = 5
    clip_norm: Positive | None = 1.0


def batchwise(selector: nn.Module, when: Batchwise) -> nn.Module:
    """Wrap the selector as a batchwise prompt, unless ``when`` is ``"off"`` (see
    :class:`~cl_prompts.prompts.task_selectors.BatchwisePrompt`)."""
    if when == "off":
        return selector
    return BatchwisePrompt(cast(Selector, selector), in_evaluation=when == "always")


def slots_for(pool_size: int | None, n_tasks: int | None) -> int:
    """Entries of a pool with one slot per task; 10 where neither is given."""
    return (n_tasks or 10) if pool_size is None else pool_size
