"""HiDe-Prompt: a prompt per task, a query classifier, aligned heads (NeurIPS 2023)."""

from collections import defaultdict
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive, Share
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import centroid_contrast
from cl_prompts.models.base import Output
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.models.routers import HeadRouter, TaskIdentity
from cl_prompts.prompts.pools import Blocks, prefix_shape
from cl_prompts.prompts.prefixes import PrefixLayout, PrefixPool
from cl_prompts.prompts.selectors import Distribution
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.wrapped import MomentumSlots
from cl_prompts.seeds import derived_seed, seeded
from cl_prompts.strategies.base.head import Classifier, head_of
from cl_prompts.strategies.base.prompt import PromptStrategy, slots_for
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.plugins.head_alignment import HeadAlignment
from cl_prompts.training.rates import Schedule

IDENTITY = "selector.classifier."


class HiDePrompt(PromptStrategy):
    """HiDe-Prompt, a prompt per task and aligned heads (NeurIPS 2023). One class per image.

    Source: "Hierarchical Decomposition of Prompt-Based Continual Learning", Wang et al., arXiv
    2310.07234.

    Each task has its own prefix, which starts as a copy of the previous one and is mixed with the
    mean of all earlier ones. A query classifier predicts the class of a test image, and the task of
    that class selects the prefix. At task ends both heads are aligned on draws from Gaussian
    statistics of all classes. Loss: cross-entropy over the task's classes, plus ``contrast_weight``
    times a term that separates features from each other and from the means of earlier tasks.

    If no boundary is announced, the next prefix starts every ``period`` samples; further periods
    train the last one. A class belongs to the prefix during which it first appeared, and its
    statistics are of features under that prefix.

    Defaults are the published ones for CIFAR-100: rates of 0.03 * 24 / 256 for prompts and a tenth
    of it for the head. Deviations: the query classifier trains in the same updates as the prompts
    instead of 20 epochs before them, so it works on any stream; each image gets the keys and values
    of its own prefix (``layout="published"``: rows are permuted, so predictions depend on the other
    samples of the batch); an epoch of the alignment has as many batches as seen classes; a cosine
    schedule instead of steps.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> method = HiDePrompt(backbone=create_backbone(), n_classes=10, n_tasks=5, evaluator=None)
        >>> tuple(method.model.pools[0].values.shape)  # tasks, blocks, key/value, rows, width
        (5, 5, 2, 5, 128)
    """

    excluded = ("multi_label",)
    own_plugins = (HeadAlignment(),)

    n_tasks: Count | None = None
    """Number of tasks, if known."""
    pool_size: Count | None = None
    """Prefixes; None for one per task, or 10 if the number of tasks is unknown. Announced tasks
    cannot exceed it."""
    prompted_blocks: Blocks = (0, 1, 2, 3, 4)
    """Blocks with prompts, 0-based."""
    prompt_length: Count = 5
    """Keys and values of a prefix per block; ImageNet-R: 20."""
    initial: Distribution = "uniform"
    """Distribution of the first prefix: ``"uniform"``, ``"small"`` or ``"normal"``."""
    layout: PrefixLayout = "own"
    """``"own"``: an image gets its own rows; ``"published"``: rows are permuted, so predictions
    depend on the other samples of the batch. Do not compare such numbers with others."""
    momentum: Share = 0.01
    """Weight of the mean of earlier prefixes in the prefix of a task."""
    contrast_weight: NotNegative = 0.1
    """Weight of the contrastive term; ImageNet-R: 0.5."""
    # Published: 5e-4 * batch / 256.
    identity_lr: Positive = 5e-4 * 24 / 256
    """Learning rate of the query classifier."""
    lr: Positive = 0.00028125
    """Learning rate of the head."""
    prompt_lr: Positive | None = 0.0028125
    train_mb_size: Count = 24
    train_epochs: Count = 50
    schedule: Schedule = "cosine"
    clip_norm: Positive | None = 1.0
    """Maximum gradient norm, separately for the query classifier and the rest; None for no
    clipping."""
    period: Count | None = 1000
    """Stream samples per prefix where no boundary is announced; None for a single prefix."""

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build a prefix per task and a query classifier; the head reads the class token."""
        size = slots_for(self.pool_size, self.n_tasks)
        return PromptedViT(
            backbone,
            n_classes,
            selector=HeadRouter(TaskIdentity(backbone.dim, n_classes), n_classes, size),
            pools=[self.make_pool(backbone, size)],
        )

    def make_pool(self, backbone: FrozenViT, size: int) -> nn.Module:
        """Make the prefixes."""
        shape = prefix_shape(backbone, self.prompted_blocks, self.prompt_length)
        pool = PrefixPool(size, *shape, initial=self.initial, copy_slots=1, layout=self.layout)
        # P_used = (1 - momentum) P_t + momentum * mean of all P_s with s < t.
        return MomentumSlots(pool, momentum=self.momentum)

    @property
    def router(self) -> HeadRouter:
        """Query classifier, and the task of each class."""
        return cast(HeadRouter, self.model.selector)

    # ------------------------------------------------------------------ rates

    def group_rates(self) -> list[float]:
        """Return the rates of head, prompts and query classifier."""
        return [*super().group_rates(), self.identity_lr]

    def group_of(self, name: str) -> int:
        """Return the last group for the query classifier."""
        return len(self.group_rates()) - 1 if name.startswith(IDENTITY) else super().group_of(name)

    def clip_gradients(self) -> None:
        """Clip the gradients of the query classifier and of the rest separately."""
        if self.clip_norm is None:
            return
        # The query classifier would dominate a common norm.
        for identity in (True, False):
            trained = [
                p
                for name, p in self.model.named_parameters()
                if p.grad is not None and name.startswith(IDENTITY) == identity
            ]
            torch.nn.utils.clip_grad_norm_(trained, self.clip_norm)

    # ------------------------------------------------------------------ training

    def check_announced(self, *, announced: bool) -> None:
        """Refuse fewer prefixes than announced tasks."""
        super().check_announced(announced=announced)
        if announced and (self.n_tasks or 0) > self.router.n_experts:
            raise InputError(
                f"pool_size is {self.router.n_experts}, but {type(self).__name__} needs a prefix"
                f" for each of the {self.n_tasks} announced tasks: give at least as many"
            )

    def observe_classes(self, labels: Tensor) -> None:
        """Observe classes, and assign new ones to the current task."""
        super().observe_classes(labels)
        self.router.own(labels)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the base's loss plus contrast of features and loss of the query classifier."""
        # Within-task prediction: cross-entropy of the head on prompted features.
        loss = super().training_loss(output, batch)
        # Task identity: cross-entropy of the classifier on queries.
        identity = self.router.classifier(output.cacheable["frozen"])
        loss = loss + self.label_loss(self.model.hide_unseen(identity), batch)
        if not self.contrast_weight:
            return loss
        assert output.raw is not None
        return loss + self.contrast_weight * centroid_contrast(output.raw, self.earlier_means())

    def earlier_means(self) -> Tensor:
        """Return the centroids (n, dim) of the classes of earlier tasks."""
        plugin = self.plugin(HeadAlignment)
        found = plugin.current(announced=self.announced)[:1] if plugin else ()
        if not found:
            return torch.zeros(0, self.model.backbone.feature_dim, device=self.device)
        owner = self.router.task_of
        # Non-empty centroids of classes of earlier tasks.
        earlier = ((owner >= 0) & (owner < self.router.current))[:, None] & (found[0].count > 0)
        return found[0].mean[earlier]

    # ------------------------------------------------------------------ task ends

    def aligned_classifiers(self) -> list[Classifier]:
        """Return the head, for classes of the current prefix, and the query classifier."""
        return [
            # Streaming statistics use classes of the current prefix only: others have another one.
            # Queries are the same under all prefixes.
            replace(head_of(self.model), rows=self.own_rows),
            Classifier(
                self.router.classifier,
                lambda output: output.cacheable["frozen"],
                dim=self.model.backbone.dim,
                samples=self.train_mb_size,  # published: a fifth of the head's
            ),
        ]

    def own_rows(self, batch: Batch) -> Tensor:
        """Return the mask (batch,) of samples whose class belongs to the current prefix."""
        return self.router.task_of[batch.labels] == self.router.current

    def start_period(self) -> None:
        """Start the next prefix, where no boundary is announced."""
        following = self.router.current + 1
        if following >= self.router.n_experts:
            return
        # Seeded by the period's number, so that a resumed run draws the same.
        with seeded(derived_seed(self.seed, following)):
            start_task(self.model, following)
        if self.new_optimizer:  # otherwise momentum would still move the finished prefix
            self.optimizer.state = defaultdict(dict)
        self.make_optimizer()
