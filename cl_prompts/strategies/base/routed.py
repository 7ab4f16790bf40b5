"""Base of the strategies whose prompts may be chosen by an analytic router."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from cl_prompts.checks import Count, Positive
from cl_prompts.errors import InputError
from cl_prompts.models.base import Output
from cl_prompts.models.ridge import Expansion
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.models.whitening import SINGLE_PRECISION_DEVICES
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.strategies.base.prompt import PoolStrategy, PromptStrategy
from cl_prompts.training.seeds import derived_seed, seeded


class RoutedStrategy(PromptStrategy):
    """Base of methods with a :class:`~cl_prompts.models.routers.AnalyticRouter`, always (FlyPrompt)
    or by option (pools).

    The router is fed with each stream sample once, as the first update sees it. Experts change with
    announced tasks, or every ``period`` samples where none is announced; once these exceed the
    experts, the last one goes on learning. A model with another selector is left to the base.

    Example:
        >>> RoutedStrategy.settings()["router_width"].default
        2000
    """

    router_width: Count = 2000
    """Random features of the router."""
    router_ridge: Positive = 1e4
    """Ridge of the router; its right size grows with the square of the features' norm."""
    router_expansion: Expansion = "normal"
    """Distribution of the router's random matrix, see
    :class:`~cl_prompts.models.ridge.RandomExpansion`."""

    @property
    def router(self) -> AnalyticRouter | None:
        """The model's selector, if it is a router."""
        selector = self.model.selector
        return selector if isinstance(selector, AnalyticRouter) else None

    def make_router(self, n_experts: int, dim: int) -> AnalyticRouter:
        """Make the router from the settings."""
        single = torch.device(self.device).type in SINGLE_PRECISION_DEVICES
        return AnalyticRouter(
            n_experts,
            dim,
            width=self.router_width,
            ridge=self.router_ridge,
            expansion=self.router_expansion,
            seed=self.seed,
            dtype=torch.float32 if single else torch.float64,
        )

    def start_task(self, classes: Tensor) -> None:
        """Start the next expert at the second announced task, and so on."""
        if self.router is None:
            super().start_task(classes)
        else:
            self.start_expert(self.tasks_started - 1)

    def finish_task(self) -> None:
        """Do what settings ask for, and start the next expert where a period ends."""
        super().finish_task()
        if self.router is not None and not self.announced:
            self.start_expert(self.router.current + 1)

    def start_expert(self, expert: int) -> None:
        """Start an expert, unless it is the current one or there are no more."""
        router = self.router
        if router is None or not router.current < expert < router.n_experts:
            return
        with seeded(derived_seed(self.seed, 1 + expert)):
            start_task(self.model, expert)
        slow = self.model.slow
        if slow is not None and slow.n_experts > 1:
            slow.restart(self.model.head)
        self.make_optimizer()

    @torch.no_grad()
    def observe_classes(self, labels: Tensor) -> None:
        """Observe a stream batch: its classes and, in the first epoch, for the router its
        images."""
        super().observe_classes(labels)
        if self.router is not None and self.clock.train_exp_epochs == 0:
            vit = self.model.backbone
            self.router.update(self.model.query(vit, vit.embed(self.mb_x)))

    def prompt_loss(self, output: Output) -> Tensor:
        """Nothing for a router, which is not trained by gradients."""
        if self.router is not None:
            return output.logits.new_zeros(())
        return super().prompt_loss(output)


class RoutedPoolStrategy(PoolStrategy, RoutedStrategy):
    """Base of methods with one entry of a pool for each task, chosen by keys or by a router.

    Raises:
        InputError: a router on a stream that announces no boundary, without ``period``.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import SPrompt
        >>> settings = {"chosen_by": "router", "n_tasks": 5, "router_width": 50}
        >>> routed = SPrompt(backbone=create_backbone(), n_classes=10, evaluator=None, **settings)
        >>> routed.router.n_experts
        5
    """

    chosen_by: Literal["keys", "router"] = "keys"
    """What chooses a test image's entry: learned ``"keys"``, or FlyPrompt's ``"router"``, ridge
    regression from its query to the entry that was trained on the like of it. With the router the
    next entry trains after each announced task or each ``period``, and training needs no query."""

    def selector_for(self, size: int, dim: int, keys: nn.Module) -> nn.Module:
        """The keys, or a router in their place."""
        return self.make_router(size, dim) if self.chosen_by == "router" else keys

    def check_experience(self, experience: Any) -> None:
        """Refuse a stream that never says when the next entry is to train."""
        super().check_experience(experience)
        if self.router is not None and not self.announced and self.period is None:
            raise InputError(
                "chosen_by=router needs to know when the next prompt is to train, and this stream"
                " announces no boundaries: give period, in samples"
            )
