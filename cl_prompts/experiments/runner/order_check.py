"""Check that a classifier made of sums scores alike in any order of the stream."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor

from cl_prompts.models.multi_label_ridge import MultiLabelRidge
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.models.sums import order_matters, sums_of, zero

ORDERS = 5
#: bytes of features that a run keeps for the check
BUDGET = 2**27
#: multiply-adds of the check, a few seconds of one core
WORK = 3 * 10**10
#: samples whose scores are compared, and fewest samples that a check is made on
_SCORED = 1000
_FEWEST = 100
_BATCH = 64


class OrderCheck(SupervisedPlugin):
    """Keep the features of a run, and feed them to its classifier again in other orders.

    Five random orders of the stored features give five classifiers; their scores are compared with
    those of the stream's order, without a forward pass. A longer stream is checked on evenly spaced
    samples of it, and nothing is checked for a classifier that takes too long, a resumed run, whose
    first features are gone, and features of more than 128 MiB.

    Attributes:
        batches: features (batch, dim), labels and annotated classes of each training batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[Tensor, Tensor, Tensor]] = []
        self._bytes = 0

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the features of a batch."""
        if not isinstance(strategy.model, PrototypeViT) or self._bytes > BUDGET:
            return
        if strategy.output is None:  # sums that shards computed have no batches
            return
        features, batch = strategy.output.features, strategy.batch
        self._bytes += features.numel() * features.element_size()
        annotated = batch.annotated.expand(len(features), -1)
        self.batches.append((features, batch.labels, annotated))
        if self._bytes > BUDGET:
            self.batches.clear()

    def result(self, strategy: Any) -> dict[str, float] | None:
        """Return the number of orders and the largest relative difference of scores.

        ``orders`` is 0 where nothing was checked.

        Returns:
            None for methods that depend on the order of the stream.
        """
        model = strategy.model
        if not isinstance(model, PrototypeViT) or order_matters(model.head):
            return None
        whole = sum(len(labels) for _, labels, _ in self.batches)
        n = min(whole, _affordable(model.head))
        if whole != strategy.samples_seen or n < min(_FEWEST, whole) or not n:
            return {"orders": 0}
        stored = [torch.cat(parts) for parts in zip(*self.batches, strict=True)]
        rows = torch.linspace(0, whole - 1, n).long().to(stored[0].device)
        stored = [part[rows] for part in stored]
        want = _scores(model.head, stored, torch.arange(n))
        gap, draws = 0.0, torch.Generator().manual_seed(0)
        for _ in range(ORDERS):
            found = _scores(model.head, stored, torch.randperm(n, generator=draws))
            gap = max(gap, float((found - want).abs().max()))
        scale = float(want.abs().max()) or 1.0
        return {"orders": ORDERS, "samples": n, "difference": gap / scale}


def _affordable(head: Any) -> int:
    """Number of samples that all orders may take: an update costs about the size of the sums, a
    solution ten times that for each of their rows."""
    sums = [tensor for part in head.modules() for tensor, _ in sums_of(part).values()]
    size = sum(tensor.numel() for tensor in sums)
    return WORK // ((ORDERS + 1) * size) - 10 * max(max(tensor.shape) for tensor in sums)


def _scores(head: Any, stored: list[Tensor], order: Tensor) -> Tensor:
    """Scores of evenly spaced samples after an update with all of them in an order."""
    fresh = deepcopy(head)
    zero(fresh)
    several = isinstance(head, MultiLabelRidge)
    for rows in order.to(stored[0].device).split(_BATCH):
        features, labels, *annotated = (part[rows] for part in stored)
        fresh.update(features, labels, *(annotated if several else ()))
    step = -(-len(order) // _SCORED)
    return fresh.scores(stored[0][::step])[:, fresh.seen]
