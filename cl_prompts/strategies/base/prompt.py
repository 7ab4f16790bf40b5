"""Base of the prompt strategies: rates, form of prompts, training of keys, start of a task."""

from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cl_prompts.checks import Count, NotNegative, Part, Positive, Size, whole_number
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import ClassMask
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.prompted import innermost_selector
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.prompts.additive import DecomposedTokens
from cl_prompts.prompts.patches import PatchSelection
from cl_prompts.prompts.selectors import Distribution, Selector
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.task_selectors import BatchwisePrompt
from cl_prompts.seeds import derived_seed, seeded
from cl_prompts.strategies.base.experience import unannounced
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.prompt_form import prompt_forms
from cl_prompts.strategies.base.stream import Batch

Batchwise = Literal["off", "training", "always"]


class PromptStrategy(OnlineStrategy):
    """Base of the prompt strategies: masked cross-entropy plus a term that trains keys.

    The loss of a mini-batch with queries q and selected keys k is ``CE - pull_weight * S``, where S
    is the mean over images of the sum over selected keys of cos(q, k). With several labels, binary
    cross-entropy over the annotated classes replaces CE.

    A prompt method declares its settings and builds a
    :class:`~cl_prompts.models.prompted.PromptedViT` in ``build_model``. Parameters that are added
    during the stream, such as those of a new task, enter the optimizer group of their kind.
    Schedules multiply each group's own rate.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.models import PromptedViT
        >>> from cl_prompts.prompts import SharedTokens
        >>> class OneToken(PromptStrategy):
        ...     def build_model(self, backbone, n_classes):
        ...         pool = SharedTokens((0,), 1, backbone.dim)
        ...         return PromptedViT(backbone, n_classes, pools=[pool])
        >>> OneToken(backbone=create_backbone(), n_classes=10, evaluator=None).model.n_learned
        1418
    """

    class_mask: ClassMask = "current"
    online_iter: Count = 1
    new_optimizer: bool = True
    pull_weight: NotNegative = 0.0
    """Weight lambda of the term that pulls keys to their queries."""
    prompt_lr: Positive | None = None
    """Learning rate of prompts, keys, selectors and all else but the head; None for ``lr``."""
    tokens: Part = 1.0
    """Share of the patches that prompted passes in training compute
    (:class:`~cl_prompts.prompts.patches.PatchSelection`), at least 8. Below 1, the last of several
    updates on a stream batch trains the head alone, on all patches."""
    token_temperature: Positive = 0.5
    """Temperature of the choice of patches by their scores; great values: a uniform choice."""
    tokens_test: Literal["all", "same"] = "all"
    """Patches in tests: ``"all"``, or the best of the ``"same"`` number."""
    dense_epochs: Size | None = 0
    """With ``tokens``, the last epochs of each announced task that train the head alone, instead of
    updates on each batch; None for a fifth of ``train_epochs``."""
    query_block: Count | None = None
    """Number of blocks of the query pass, which then chooses patches uniformly; None for the
    method's own."""
    prompt_form: Any = None
    """Form of prompts: :class:`Encoded`, :class:`Decomposed`, or both in a list; None for the
    method's own."""

    def check_settings(self) -> None:
        """Refuse dense epochs that are all epochs, and settings of ``tokens`` without it."""
        super().check_settings()
        dense = self.dense_epochs or 0
        if self.tokens == 1 and (dense or self.tokens_test == "same"):
            raise InputError("dense_epochs and tokens_test need tokens below 1: leave them out")
        if dense >= self.train_epochs:
            raise InputError(
                f"dense_epochs is {dense}, which leaves none of train_epochs={self.train_epochs} to"
                " the prompts: give fewer"
            )

    def check_announced(self, *, announced: bool) -> None:
        """Refuse dense epochs on a stream that announces no tasks."""
        super().check_announced(announced=announced)
        if self.dense_epochs and not announced:
            raise unannounced("dense_epochs", "leave it out")

    def fit_model(self, model: ContinualModel) -> None:
        """Apply head, query, selection of patches and form of prompts to a new model."""
        super().fit_model(model)
        prompted: Any = model
        if self.query_block:
            whole_number("query_block", self.query_block, 1, model.backbone.depth, of="all blocks")
            prompted.query = replace(prompted.query, blocks=self.query_block)
        if self.tokens < 1:
            dense = self.train_epochs // 5 if self.dense_epochs is None else self.dense_epochs
            model.patches = PatchSelection(
                self.tokens, self.token_temperature, self.tokens_test == "same", dense, self.seed
            )
            several, asks = model.multi_label, prompted.scores_patches
            model.patches.check(model.backbone, multi_label=several, asks=asks)
        if self.prompt_form:
            for form in prompt_forms(self.prompt_form):
                form.apply(model, type(self).__name__)

    # ------------------------------------------------------------------ rates

    def is_head(self, name: str) -> bool:
        """Return whether a parameter of the model, by its name, belongs to the head."""
        # MVP's logit masks act on logits, as the head does.
        return name.startswith(("head.", "logit_mask."))

    def group_rates(self) -> list[float]:
        """Return the unscaled rates of the optimizer groups: one, or head and prompts."""
        return [self.lr] if self.prompt_lr is None else [self.lr, self.prompt_lr]

    def group_of(self, name: str) -> int:
        """Return the index of the optimizer group for a parameter."""
        return 0 if self.prompt_lr is None or self.is_head(name) else 1

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Return Adam without weight decay, with one group per rate."""
        groups: list[dict[str, object]] = []
        for i, rate in enumerate(self.group_rates()):
            mine = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad and self.group_of(name) == i
            ]
            groups.append({"params": mine, "lr": rate})
        return torch.optim.Adam(groups, lr)

    # ------------------------------------------------------------------ tasks

    @property
    def routed(self) -> bool:
        """Whether an analytic router selects prompts; its plugin starts experts instead of keys."""
        return isinstance(self.model.selector, AnalyticRouter)

    def start_task(self, classes: Tensor) -> None:
        """Announce the task to the model: slots advance, components grow."""
        if self.routed:
            return
        # A resumed run draws the same new rows, from the seed and the task.
        with seeded(derived_seed(self.seed, self.tasks_started)):
            start_task(self.model, self.tasks_started - 1)

    def finish_task(self) -> None:
        """Merge the low-rank update into the base tokens and reset its optimizer state."""
        for pool in getattr(self.model, "pools", ()):
            if isinstance(pool, DecomposedTokens):
                pool.bake()
                for parameter in (pool.a, pool.b):
                    self.optimizer.state.pop(parameter, None)

    # ------------------------------------------------------------------ one update

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the sum of :meth:`classification_loss`, :meth:`prompt_loss` and pool terms."""
        loss = self.classification_loss(output, batch) + self.prompt_loss(output)
        return loss if output.prompt_loss is None else loss + output.prompt_loss

    def classification_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss on labels; by default :meth:`label_loss`."""
        return super().training_loss(output, batch)

    def prompt_loss(self, output: Output) -> Tensor:
        """Return the loss terms that train prompts and keys alone."""
        if output.selection is None or self.routed or not self.pull_weight:
            return output.logits.new_zeros(())
        # - lambda S, with S a sum of cosines
        return -self.pull_weight * output.selection.match

    def after_step(self, output: Output, batch: Batch) -> None:
        """Count the selected prompts, in every update and for replayed samples as well."""
        if output.selection is not None:
            cast(Selector, innermost_selector(self.model)).observe(output.selection)


class PoolStrategy(PromptStrategy):
    """Base of the methods that select prompts by keys, with the settings of their PyTorch ports.

    Example:
        >>> {name: PoolStrategy.settings()[name].default for name in ("initial", "train_epochs")}
        {'initial': 'uniform', 'train_epochs': 5}
    """

    initial: Distribution = "uniform"
    """Initial distribution of prompts and keys: ``"uniform"`` U(-1, 1) as in the PyTorch ports,
    ``"small"`` U[0, 0.01) as in the JAX code, or ``"normal"``."""
    pull_weight: NotNegative = 1.0
    train_epochs: Count = 5
    clip_norm: Positive | None = 1.0


def batchwise(selector: nn.Module, when: Batchwise) -> nn.Module:
    """Wrap a selector in a ``BatchwisePrompt``, unless ``when`` is ``"off"``."""
    if when == "off":
        return selector
    return BatchwisePrompt(cast(Selector, selector), in_evaluation=when == "always")


def slots_for(pool_size: int | None, n_tasks: int | None) -> int:
    """Return the size of a pool with one slot per task; 10 if neither is given."""
    return (n_tasks or 10) if pool_size is None else pool_size
