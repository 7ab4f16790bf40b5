"""One budget of training compute for every method."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.checks import Positive
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import batch_classes
from cl_prompts.models.base import ContinualModel, copy_of
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.state import State
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.stream import StreamBatch


class Budget(StrategyPlugin):
    """Compute for training, ``passes`` F for each arriving image; F is a frozen forward pass.

    A stream does not wait for a slow method. Each arriving batch brings credit; an update spends
    what :class:`~cl_prompts.strategies.base.cost.TrainingCost` counts. While the credit is negative
    the strategy is busy: arriving batches are skipped, and evaluations use the state before the
    update that still runs. Idle time is lost. A cheap method makes several updates per batch
    instead, each on another view, which replaces ``online_iter``.

    With several epochs (``train_epochs``) an experience brings credit for all its images at once.
    When that is spent, the rest of the first epoch is skipped and there is no further one.

    Work at task ends is charged after it was done, and evaluations see it at once. After a run that
    ends within an update, ``strategy.model`` is the trained state, and the last evaluation saw the
    one before.

    Source: the slow and the fast stream of Ghunaim et al., "Real-Time Evaluation in Online
    Continual Learning: A New Hope", CVPR 2023. Differences: backward passes, replay, queries,
    solutions and work at task ends are counted, not taken as three forward passes, and credit
    replaces whole numbers of skipped batches. With ``passes`` the cost of ER, a method of an
    integer relative cost has the published schedule.

    Attributes:
        credit: F that may be spent, negative while an update runs.
        trained: stream images trained on.
        arrived: (classes,) boolean mask of the classes of all arrived images.
        served: copy of the model before the update that still runs; None if none does.

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
        self.served: ContinualModel | None = None
        self.state.add("credit", "trained", "arrived")

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
        self._model: ContinualModel = strategy.model

    def before_training_exp(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Bring the credit of an experience of several epochs; a grown model is served at once."""
        more = strategy.model.n_classes - len(self.arrived)
        if more:
            self.arrived, self.served = F.pad(self.arrived, (0, more)), None
        if strategy.train_epochs > 1 and strategy.loop.place is None:
            self.credit = self.passes * len(strategy.experience.dataset)

    def start_of_task(self, strategy: OnlineStrategy) -> None:
        """Finish the running update, since a new task may add parts to the model."""
        self.served = None

    def admits(self, strategy: OnlineStrategy, stream: StreamBatch) -> bool:
        """Let a batch of the stream arrive; return whether it is trained."""
        labels = stream.first.labels_on_host(stream.size)
        self.arrived |= batch_classes(labels, len(self.arrived))
        cost = stream.size * strategy.loop.cost.update
        if strategy.train_epochs > 1:
            return self._affords(strategy, stream, cost)
        if self.credit < 0:
            self._refill(stream.size)
            return False
        self.served = None
        # Known from the last update: whether this one ends before the next batch arrives.
        left = self.credit - self.updates(strategy, stream.size) * cost
        if not cost or left + self.passes * stream.size < 0:
            self.served = copy_of(strategy.model, strategy.model.backbone)
        return True

    def _affords(self, strategy: OnlineStrategy, stream: StreamBatch, cost: float) -> bool:
        """Return whether the credit of an experience pays an update; end epochs but the first."""
        if cost <= self.credit:
            return True
        if strategy.clock.train_exp_epochs:
            strategy.stop_training()
        elif stream.start == 0:
            raise InputError(
                f"budget {self.passes:g} is below the cost of one update: an experience of"
                f" {len(strategy.experience.dataset)} images brings {self.credit:.0f} F, and an"
                f" update costs {cost:.0f}"
            )
        return False

    def updates(self, strategy: OnlineStrategy, n: int) -> int:
        """Return the number of updates on a batch of ``n`` stream images."""
        update = strategy.loop.cost.update
        if not update or strategy.train_epochs > 1 or isinstance(strategy.model, PrototypeViT):
            return 1
        return max(1, int(self.passes / update))

    def spend(self, passes: float) -> None:
        """Charge training compute, in F."""
        self.credit -= passes

    def end_of_stream_batch(self, strategy: OnlineStrategy, samples: int) -> None:
        """Count a trained batch, and add the credit that it brought."""
        # A solution is part of training, whenever it is evaluated.
        strategy.loop.cost.solve()
        self.trained += samples
        if strategy.train_epochs == 1:
            self._refill(samples)
            if self.credit >= 0:
                self.served = None

    def _refill(self, n: int) -> None:
        self.credit = min(self.credit + self.passes * n, self.passes * n)

    def state_dict(self) -> State:
        """Return the registered state, and that of the served model if there is one."""
        served = None if self.served is None else self.served.learned_state()
        return {**super().state_dict(), "served": served}

    def load_state_dict(self, state: State) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict({name: state[name] for name in state if name != "served"})
        self.served = None
        if state["served"] is not None:
            self.served = copy_of(self._model, self._model.backbone)
            self.served.load_learned_state(state["served"])
