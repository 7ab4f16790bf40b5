"""One budget of training compute for every method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor

from cl_prompts.checks import Positive
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin


class Budget(StrategyPlugin):
    """Compute for training, ``passes`` F for each arriving image; F is a frozen forward pass.

    A stream does not wait for a slow method. Each arriving batch brings credit; an update spends
    what :class:`~cl_prompts.strategies.base.cost.TrainingCost` counts. While the credit is negative
    the strategy is busy: arriving batches are skipped, and evaluations use the state before the
    update that still runs. Idle time is lost. A cheap method makes several updates per batch
    instead, each on another view, which replaces ``online_iter``.

    With several epochs (``train_epochs``) an experience brings credit for all its images at once,
    and its epochs end when that is spent.

    Source: the slow and the fast stream of Ghunaim et al., "Real-Time Evaluation in Online
    Continual Learning: A New Hope", CVPR 2023. Differences: backward passes, replay, queries,
    solutions and work at task ends are counted, not taken as three forward passes, and credit
    replaces whole numbers of skipped batches. With ``passes`` the cost of ER, a method of an
    integer relative cost has the published schedule.

    Attributes:
        credit: F that may be spent, negative while an update runs.
        trained: stream images trained on.
        arrived: (classes,) boolean mask of the classes of all arrived images.
        served: learned state before the update that still runs; None if none does.

    Raises:
        InputError: ``online_iter`` is given, the method trains on the whole stream at once, or an
            experience has no credit for one update.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> OnePrompt(**given, plugins=[Budget(passes=2.0)], device="cpu").online_iter
        1
    """

    passes: Positive = 1.0
    """F of training for each arriving image."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.credit = 0.0
        self.trained = 0
        self.arrived: Tensor = torch.zeros(0, dtype=torch.bool)
        self.served: dict[str, Tensor] | None = None
        self.state.add("credit", "trained", "arrived", "served")

    def attach(self, strategy: OnlineStrategy) -> None:
        """Make the loader yield each batch once; further views are read on demand."""
        if strategy.whole_stream:
            raise self.refusal(
                f"is for each arriving image, and {type(strategy).__name__} trains on the whole"
                " stream at once"
            )
        if strategy.explicit.get("online_iter", 1) != 1:
            raise self.refusal("replaces online_iter", "leave one of them out")
        strategy.online_iter = 1
        strategy.budget = self

    def before_training_exp(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Bring the credit of an experience of several epochs."""
        n_classes = strategy.model.n_classes
        self.arrived = torch.nn.functional.pad(self.arrived, (0, n_classes - len(self.arrived)))
        if strategy.train_epochs > 1 and strategy.loop.place is None:
            self.credit = self.passes * len(strategy.experience.dataset)

    def start_of_task(self, strategy: OnlineStrategy) -> None:
        """Finish the running update, since a new task may add parts to the model."""
        self.served = None

    def admits(self, strategy: OnlineStrategy, labels: Tensor) -> bool:
        """Let a batch arrive; return whether it is trained.

        Args:
            strategy: the strategy.
            labels: of the batch, (batch,) or (batch, classes).
        """
        labels = labels.cpu()
        self.arrived |= (
            (labels > 0).any(dim=0)
            if labels.dim() == 2
            else torch.zeros_like(self.arrived).index_fill(0, labels.long(), True)
        )
        if strategy.train_epochs > 1:
            if self.credit < self._of_last(strategy):
                strategy.stop_training()
            return True
        if self.credit < 0:
            self._refill(len(labels))
            return False
        self.served = None
        # Known from the last update: whether this one ends before the next batch arrives.
        last = self._of_last(strategy)
        income = self.passes * len(labels)
        if not last or self.credit - self.updates(strategy, len(labels)) * last + income < 0:
            self.served = deepcopy(strategy.model.learned_state())
        return True

    def updates(self, strategy: OnlineStrategy, n: int) -> int:
        """Return the number of updates on a batch of ``n`` stream images."""
        last = self._of_last(strategy)
        if not last or strategy.train_epochs > 1 or isinstance(strategy.model, PrototypeViT):
            return 1
        return max(1, int(self.passes * n / last))

    def spend(self, passes: float) -> None:
        """Charge training compute, in F."""
        self.credit -= passes

    def end_of_stream_batch(self, strategy: OnlineStrategy, samples: int) -> None:
        """Count a trained batch, and add the credit that it brought."""
        self.trained += samples
        if strategy.train_epochs == 1:
            self._refill(samples)
            if self.credit >= 0:
                self.served = None
        elif self.trained == samples and self.credit < 0:
            raise InputError(
                f"budget {self.passes:g} is below the cost of one update: an experience of"
                f" {len(strategy.experience.dataset)} images brings"
                f" {self.passes * len(strategy.experience.dataset):.0f} F, and an update costs"
                f" {self._of_last(strategy):.0f}"
            )

    @contextmanager
    def serving(self, model: ContinualModel) -> Iterator[None]:
        """Give the model the state before the running update in this context."""
        if self.served is None:
            yield
            return
        trained = deepcopy(model.learned_state())
        model.load_learned_state(self.served)
        try:
            yield
        finally:
            model.load_learned_state(trained)

    def _refill(self, n: int) -> None:
        self.credit = min(self.credit + self.passes * n, self.passes * n)

    @staticmethod
    def _of_last(strategy: OnlineStrategy) -> float:
        """F of the last update; 0 before the first one."""
        return float(strategy.loop.cost.last_update / strategy.model.backbone.forward_macs)
