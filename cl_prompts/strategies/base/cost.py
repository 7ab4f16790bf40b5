"""Compute of training in multiply-accumulates, backward passes included."""

from collections.abc import Iterator
from contextlib import contextmanager

from avalanche.training.templates import SupervisedTemplate

from cl_prompts.backbones.mac_counter import MACCounter
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.state import Stateful


class TrainingCost(Stateful):
    """Multiply-accumulates of a strategy's training so far.

    The backbone counts its own forward passes. The rest of an update (backward pass, head, prompts,
    teachers, statistics) depends on shapes alone: it is counted once for each kind of update, while
    the first one of the kind runs. Evaluations are not included.

    Attributes:
        active: whether to count; a counted update takes longer, so only a budget sets it.
        macs: multiply-accumulates so far.
        update: F of the last update for each of its stream images; 0 before the first one.
        rest: kind of update -> all but the backbone's forward passes.
        solved: number of updates at the last solution of a closed form.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> cost = TrainingCost(SimpleNamespace(model=SimpleNamespace(backbone=vit), budget=None))
        >>> cost.active = True
        >>> with cost.counting("one image"):
        ...     features = vit(torch.rand(1, 3, 32, 32))
        >>> round(cost.macs / vit.forward_macs, 2)  # the last block computes the class token alone
        0.87
    """

    state = ("macs", "update", "rest", "solved")

    def __init__(self, strategy: SupervisedTemplate) -> None:
        self.strategy = strategy
        self.active = strategy.budget is not None
        self.macs = 0.0
        self.update = 0.0
        self.rest: dict[str, float] = {}
        self.solved = 0

    @contextmanager
    def counting(self, kind: str | None = None, *, update_on: int = 0) -> Iterator[None]:
        """Add the work of the context.

        Args:
            kind: work of equal shapes; None: count all operations each time.
            update_on: stream images, if the work is an update.
        """
        if not self.active:
            yield
            return
        passes = self.strategy.model.backbone.counter
        before = passes.macs
        if kind in self.rest:
            yield
            spent = passes.macs - before + self.rest[kind]
        else:
            with MACCounter() as counter:
                yield
            spent = counter.macs
        if kind is not None:
            self.rest.setdefault(kind, spent - (passes.macs - before))
        self.macs += spent
        in_passes = spent / float(self.strategy.model.backbone.forward_macs)
        if update_on:
            self.update = in_passes / update_on
        if self.strategy.budget is not None:
            self.strategy.budget.spend(in_passes)

    def solve(self) -> None:
        """Solve a closed form, so that evaluations find it solved."""
        strategy = self.strategy
        closed_form = self.active and isinstance(strategy.model, PrototypeViT)
        if closed_form and self.solved != strategy.updates:
            with self.counting():
                strategy.model.solve()
            self.solved = strategy.updates

    @property
    def passes(self) -> float:
        """The work so far in F, plain forward passes of one image."""
        return self.macs / float(self.strategy.model.backbone.forward_macs)
