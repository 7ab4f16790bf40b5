"""Selectors around :class:`~cl_prompts.prompts.selectors.NearestKeys`.

Task slots and batchwise prompts.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from cl_prompts.prompts.selectors import NearestKeys, Selection, Selector, count_choices
from cl_prompts.prompts.task_aware import TaskAware


def slot_rows(task: int, k: int, size: int) -> slice | None:
    """Rows [task * k, (task + 1) * k) of a pool; None before task 0 or beyond the pool."""
    return slice(task * k, (task + 1) * k) if task >= 0 and (task + 1) * k <= size else None


@torch.no_grad()
def copy_slot(values: Tensor, task: int, k: int) -> None:
    """Copy the previous task's slot to that of ``task``, if both are in the pool."""
    here, before = slot_rows(task, k, len(values)), slot_rows(task - 1, k, len(values))
    if here is not None and before is not None:
        values[here] = values[before]


class TaskSlots(TaskAware):
    """A slot of k prompts per task for training; evaluation uses the nearest keys.

    As in L2P (its "prompt mask") and DualPrompt. Before a task is announced, or for slots beyond
    the pool, training also uses the nearest keys. Evaluation never uses the task: the images of a
    batch may belong to any.

    Args:
        copy_keys: start a task with the keys of the previous one (L2P's "shared prompt key").
        all_rows: in evaluation also compare the keys of slots whose task has not started, with
            untrained prompts, as published code does; matters where queries are short or keys start
            equal.
        first_rows: train the prompts of rows 0 to k - 1 in every task, as MISA's released code
            does, which counts rows within the slot.

    Example:
        >>> slots = TaskSlots(NearestKeys(10, 16, k=2))
        >>> slots.start_task(1)
        >>> slots(torch.randn(1, 16)).index.tolist()  # task 1 owns rows 2 and 3
        [[2, 3]]
    """

    def __init__(
        self,
        inner: NearestKeys,
        *,
        copy_keys: bool = False,
        all_rows: bool = False,
        first_rows: bool = False,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.copy_keys = copy_keys
        self.all_rows = all_rows
        self.first_rows = first_rows

    def begin(self, task: int) -> None:
        """Copy the keys of the previous slot, with ``copy_keys``."""
        if self.copy_keys:
            copy_slot(self.inner.key, task, self.inner.k)

    def forward(self, query: Tensor) -> Selection:
        """Query (batch, dim) -> Selection."""
        slot = slot_rows(self.task, self.inner.k, self.inner.size)
        if slot is None:
            return self.inner(query)
        if not self.training:
            return self.inner(query, rows=None if self.all_rows else slot.stop)
        start = 0 if self.first_rows else slot.start
        own = torch.arange(start, start + self.inner.k, device=query.device)
        own = own.expand(len(query), -1)
        return replace(self.inner(query), index=own)

    def matched(self, selection: Selection) -> Selection:
        """The selection with the keys matched in training, those of the task's slot."""
        slot = slot_rows(self.task, self.inner.k, self.inner.size)
        if not self.first_rows or slot is None:
            return selection
        return replace(selection, index=selection.index + slot.start)


class BatchwisePrompt(nn.Module):
    """Majority vote: all images of a batch get the k rows chosen most often among them.

    L2P's and DualPrompt's "batchwise prompt"; ties go to the lowest row. **At test time this leaks
    the task**: test sets are read task by task or sorted by class, so the vote of a batch
    identifies its task. Accuracies gain several points, up to 20, and predictions depend on other
    samples of the batch. It therefore acts in training only; ``in_evaluation`` gives the published
    behaviour, whose numbers cannot be compared with others.

    Args:
        inner: the selector whose choices are the votes.
        in_evaluation: vote at test time, too (see above).

    Example:
        >>> batchwise = BatchwisePrompt(NearestKeys(10, 16))
        >>> index = batchwise(torch.randn(32, 16)).index
        >>> bool((index == index[0]).all())
        True
    """

    def __init__(self, inner: Selector, *, in_evaluation: bool = False) -> None:
        super().__init__()
        self.inner = inner
        self.in_evaluation = in_evaluation

    def forward(self, query: Tensor) -> Selection:
        """Query (batch, dim) -> Selection with equal rows of ``index``."""
        selection = self.inner(query)
        if not (self.training or self.in_evaluation):
            return selection
        votes = count_choices(selection.index, torch.zeros_like(selection.scale))
        winners = torch.sort(votes, descending=True, stable=True).indices[
            : selection.index.shape[1]
        ]
        return replace(selection, index=winners.expand_as(selection.index))
