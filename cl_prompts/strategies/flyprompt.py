"""FlyPrompt: experts by a sample clock, an analytic router, slow heads (ICLR 2026)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive, Share
from cl_prompts.losses.classification import ClassMask
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.models.ridge import Expansion
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.models.whitening import SINGLE_PRECISION_DEVICES
from cl_prompts.prompts.experts import ExpertTokens
from cl_prompts.prompts.places import Blocks, check_blocks
from cl_prompts.prompts.pools import class_position
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.strategies.base.prompt import PromptStrategy

#: experts where neither their number nor that of the tasks is given, as published
PUBLISHED_EXPERTS = 5


class FlyPrompt(PromptStrategy):
    """FlyPrompt ("Brain-Inspired Random-Expanded Routing with Temporal-Ensemble Experts for General
    Continual Learning", ICLR 2026, arXiv 2602.01976). One class per image.

    Experts are context tokens in several blocks and learn one after the other: the next one starts
    every ``period`` samples of the stream, or with an announced task, as the mean of its
    predecessors, which never change again. A router says which expert a test image gets: ridge
    regression from randomly expanded frozen features to the expert that was in training when they
    came (:class:`~cl_prompts.models.routers.AnalyticRouter`). One head serves all experts; each has
    slow heads besides, averages of that head from its own time, and each class is scored by the
    surest of them (:class:`~cl_prompts.models.slow_heads.SlowHeads`). Loss: cross-entropy over the
    classes of the batch.

    Deviations from the published code. Finished experts stand still, where Adam's momentum moves
    the published ones for some ten steps more. Experts without queries do not compete in the
    router. The router takes each stream image in as the first update sees it, augmented where the
    data set augments; published: without augmentation. The router has 2,000 random features
    (published: 10,000, of which the sums take 800 MB). The length of the stream need not be known:
    ``period`` says it, published as length // experts. Rows carry no positional embedding
    (``position``).

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> fly = FlyPrompt(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> len(fly.model.pools[0].values), fly.model.slow.decays
        (5, (0.9, 0.99))
    """

    withdrawn: ClassVar[tuple[str, ...]] = ("multi_label",)

    n_tasks: Count | None = None
    """Number of tasks, if known."""
    n_experts: Count | None = None
    """Experts; None for one per task, or 5 if the number of tasks is unknown. Once tasks or periods
    exceed them, the last one goes on learning."""
    period: Count | None = 10_000
    """Stream samples after which the next expert starts where no boundary is announced; None for
    one expert alone."""
    prompted_blocks: Blocks = (0, 1, 2, 3, 4)
    """Blocks with prompts, 0-based."""
    prompt_length: Count = 20
    """Context tokens per expert and block."""
    position: bool = False
    """Add the class token's positional embedding to every prompt token, as published: a constant
    shift."""
    router_width: Count = 2000
    """Random features of the router."""
    router_ridge: Positive = 1e4
    """Ridge of the router; its right size grows with the square of the features' norm."""
    router_expansion: Expansion = "normal"
    """Distribution of the random matrix, see
    :class:`~cl_prompts.models.ridge.RandomExpansion`."""
    slow_heads: Sequence[Share] = (0.9, 0.99)
    class_mask: ClassMask = "batch"
    online_iter: Count = 3
    new_optimizer: bool = False

    @property
    def n_head_experts(self) -> int:
        """Experts in all."""
        return self.n_experts or self.n_tasks or PUBLISHED_EXPERTS

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build experts and router; the head reads the class token."""
        check_blocks(backbone.depth, prompted_blocks=self.prompted_blocks)
        single = torch.device(self.device).type in SINGLE_PRECISION_DEVICES
        router = AnalyticRouter(
            self.n_head_experts,
            backbone.dim,
            width=self.router_width,
            ridge=self.router_ridge,
            expansion=self.router_expansion,
            seed=self.seed,
            dtype=torch.float32 if single else torch.float64,
        )
        experts = ExpertTokens(
            self.n_head_experts,
            self.prompted_blocks,
            self.prompt_length,
            backbone.dim,
            position=class_position(backbone) if self.position else None,
        )
        return PromptedViT(backbone, n_classes, selector=router, pools=[experts])

    def start_task(self, classes: Tensor) -> None:
        """Start the next expert at the second announced task, and so on."""
        self.start_expert(self.tasks_started - 1)

    def finish_task(self) -> None:
        """Start the next expert where a period ends."""
        if not self.announced:
            self.start_expert(self.model.selector.current + 1)

    def start_expert(self, expert: int) -> None:
        """Start an expert, unless it is the current one or there are no more."""
        if not self.model.selector.current < expert < self.n_head_experts:
            return
        start_task(self.model, expert)
        if self.model.slow is not None:
            self.model.slow.restart(self.model.head)
        self.make_optimizer()

    @torch.no_grad()
    def observe_classes(self, labels: Tensor) -> None:
        """Observe a stream batch: its classes and, in the first epoch, for the router its
        images."""
        super().observe_classes(labels)
        if self.clock.train_exp_epochs == 0:
            vit = self.model.backbone
            self.model.selector.take_in(self.model.query(vit, vit.embed(self.mb_x)))
