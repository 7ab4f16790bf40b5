"""Analytic router: experts chosen by ridge regression from frozen queries (FlyPrompt)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cl_prompts.checks import Count, Positive
from cl_prompts.errors import InputError
from cl_prompts.models.ridge import Expansion
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.models.whitening import SINGLE_PRECISION_DEVICES
from cl_prompts.prompts.pools import ExpertTokens
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.wrapped import WrappedPool
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.prompt_form import slots_of
from cl_prompts.training.seeds import derived_seed, seeded


class Router(StrategyPlugin):
    """FlyPrompt's router (ICLR 2026, arXiv 2602.01976) in the place of learned keys, for methods
    with one entry of a pool for each task: ridge regression from an image's query to the entry that
    was trained on the like of it (:class:`~cl_prompts.models.routers.AnalyticRouter`).

    The router is fed with each stream sample once, as the first update sees it. Experts change with
    announced tasks, or every ``period`` samples where none is announced; once these exceed the
    experts, the last one goes on learning. Training needs no query. A given model that has a router
    keeps it, whatever the settings here.

    Raises:
        InputError: a method without an entry for each task, or a stream that announces no boundary,
            without ``period``.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import SPrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> routed = SPrompt(**given, n_tasks=5, plugins=[Router(width=50)], device="cpu")
        >>> routed.model.selector.n_experts
        5
    """

    needs = "prompt_form"

    width: Count = 2000
    """Random features."""
    ridge: Positive = 1e4
    """Ridge; its right size grows with the square of the features' norm."""
    expansion: Expansion = "normal"
    """Distribution of the random matrix, see :class:`~cl_prompts.models.ridge.RandomExpansion`."""

    def attach(self, strategy: Any) -> None:
        """Replace the model's selector by the router."""
        model = strategy.model
        if isinstance(model.selector if hasattr(model, "selector") else None, AnalyticRouter):
            return  # a given model keeps what its router has learned
        pools = getattr(model, "pools", ())
        sizes = [len(pool.values) for pool in pools if _has_one_entry_a_task(pool, model)]
        if not sizes:
            raise self.refusal(
                f"chooses among entries of which each task has one, and"
                f" {type(strategy).__name__} has none"
            )
        # A ridge regression loses digits as its sums grow: fp64 wherever the device has it.
        single = torch.device(strategy.device).type in SINGLE_PRECISION_DEVICES
        model.selector = AnalyticRouter(
            sizes[0],
            model.backbone.dim,
            width=self.width,
            ridge=self.ridge,
            expansion=self.expansion,
            seed=strategy.seed,
            dtype=torch.float32 if single else torch.float64,
        )

    def check_announced(self, strategy: Any, *, announced: bool) -> None:
        """Refuse a stream that never says when the next entry is to train."""
        defined_with = any(isinstance(plugin, Router) for plugin in strategy.own_plugins)
        if not announced and strategy.period is None and not defined_with:
            raise InputError(
                "the router needs to know when the next prompt is to train, and this stream"
                " announces no boundaries: give period, in samples"
            )

    def start_of_task(self, strategy: Any) -> None:
        """Start the next expert at the second announced task, and so on."""
        self._start(strategy, strategy.tasks_started - 1)

    def start_of_period(self, strategy: Any) -> None:
        """Start the next expert where no boundary is announced."""
        self._start(strategy, strategy.model.selector.current + 1)

    @torch.no_grad()
    def start_of_stream_batch(self, strategy: Any) -> None:
        """Feed the router with a stream batch, in the first epoch."""
        if strategy.clock.train_exp_epochs == 0:
            vit = strategy.model.backbone
            tokens = vit.embed(strategy.batch.images)
            strategy.model.selector.update(strategy.model.query(vit, tokens))

    def _start(self, strategy: Any, expert: int) -> None:
        """Start an expert, unless it is the current one or there are no more."""
        router: AnalyticRouter = strategy.model.selector
        if not router.current < expert < router.n_experts:
            return
        with seeded(derived_seed(strategy.seed, 1 + expert)):
            start_task(strategy.model, expert)
        slow = strategy.model.slow
        # An expert of its own has slow heads of its own, which begin at the head as it is now.
        if slow is not None and slow.n_experts > 1:
            slow.restart(strategy.model.head)
        # The finished expert leaves the optimizer, and the next one enters it.
        strategy.make_optimizer()


def _has_one_entry_a_task(pool: nn.Module, model: Any) -> bool:
    while isinstance(pool, WrappedPool):
        pool = pool.pool
    return isinstance(pool, ExpertTokens) or slots_of(model, pool) == 1
