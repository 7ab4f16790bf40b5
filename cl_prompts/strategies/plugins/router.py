"""Analytic router: experts selected by ridge regression from frozen queries (FlyPrompt)."""

import torch
from torch import nn

from cl_prompts.checks import Count, Positive
from cl_prompts.closed_form.ridge import Expansion
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.prompts.pools import ExpertTokens
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.wrapped import WrappedPool
from cl_prompts.seeds import derived_seed, seeded
from cl_prompts.strategies.base.experience import unannounced
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.prompt_form import slots_of


class Router(StrategyPlugin):
    """FlyPrompt's router (ICLR 2026), for methods with one pool entry per task.

    Source: arXiv 2602.01976. It replaces learned keys by ridge regression from an image's query to
    the entry in training at that time (:class:`~cl_prompts.models.routers.AnalyticRouter`).

    Each stream sample trains the router once, in the first update. The next expert starts with an
    announced task, or every ``period`` samples where none is announced; further tasks train the
    last expert. Training needs no query.

    Raises:
        InputError: the method does not have one entry per task, or the stream announces no
            boundaries and ``period`` is None.

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
    """Ridge; it scales with the square of the features' norm."""
    expansion: Expansion = "normal"
    """Distribution of the random matrix, see
    :class:`~cl_prompts.closed_form.ridge.RandomExpansion`."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Replace the model's selector by the router."""
        model = strategy.model
        pools = getattr(model, "pools", ())
        sizes = [len(pool.values) for pool in pools if _has_one_entry_a_task(pool, model)]
        if not sizes:
            raise self.lacking(strategy, "one pool entry per task")
        model.selector = AnalyticRouter(
            sizes[0],
            model.backbone.dim,
            seed=strategy.seed,
            **self.values_of("width", "ridge", "expansion"),
        )

    def check_announced(self, strategy: OnlineStrategy, *, announced: bool) -> None:
        """Refuse a stream without boundaries if ``period`` is not set."""
        defined_with = any(isinstance(plugin, Router) for plugin in strategy.own_plugins)
        if not announced and strategy.period is None and not defined_with:
            raise unannounced("Router", "give period, in samples")

    def start_of_task(self, strategy: OnlineStrategy) -> None:
        """Start the next expert at the second announced task, and so on."""
        self._start(strategy, strategy.tasks_started - 1)

    def start_of_period(self, strategy: OnlineStrategy) -> None:
        """Start the next expert where no boundary is announced."""
        self._start(strategy, strategy.model.selector.current + 1)

    @torch.no_grad()
    def start_of_stream_batch(self, strategy: OnlineStrategy) -> None:
        """Train the router on a stream batch, in the first epoch."""
        if strategy.clock.train_exp_epochs == 0:
            vit = strategy.model.backbone
            tokens = vit.embed(strategy.batch.images)
            strategy.model.selector.update(strategy.model.query(vit, tokens))

    def _start(self, strategy: OnlineStrategy, expert: int) -> None:
        """Start an expert, unless it is the current one or does not exist."""
        router: AnalyticRouter = strategy.model.selector
        if not router.current < expert < router.n_experts:
            return
        with seeded(derived_seed(strategy.seed, 1 + expert)):
            start_task(strategy.model, expert)
        slow = strategy.model.slow
        # The slow heads of the expert start from the current head.
        if slow is not None and slow.n_experts > 1:
            slow.restart(strategy.model.head)
        strategy.make_optimizer()


def _has_one_entry_a_task(pool: nn.Module, model: ContinualModel) -> bool:
    while isinstance(pool, WrappedPool):
        pool = pool.pool
    return isinstance(pool, ExpertTokens) or slots_of(model, pool) == 1
