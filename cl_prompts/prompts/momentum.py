"""Slots that are mixed with the slots before them (HiDe-Prompt)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.checks import in_range
from cl_prompts.errors import InputError
from cl_prompts.prompts.parameterisations import ValuePool
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import TaskAware


class MomentumSlots(TaskAware):
    """A pool with one entry a task, whose entry is used mixed with the mean of its predecessors
    (HiDe-Prompt, NeurIPS 2023, arXiv 2310.07234).

    In task t > 0: ``P_used = (1 - momentum) P_t + momentum * mean over s < t of P_s``, where the
    mean is a constant; when the next task starts, P_t becomes the mixture. HiDe-Prompt takes 0.01
    and lets the pool copy slots (``copy_slots=1``).

    Args:
        pool: a pool of entries with ``values`` and ``build_from``.
        momentum: share of the predecessors.

    Raises:
        InputError: a pool without values, or a momentum out of range.

    Example:
        >>> from cl_prompts.prompts.prefixes import PrefixPool
        >>> pool = MomentumSlots(PrefixPool(4, (0, 1), 3, 16, 2), momentum=0.5)
        >>> pool.start_task(1)
        >>> mean = pool.pool.values[:2].mean(dim=0)
        >>> bool(torch.allclose(pool.values[1], mean))
        True
    """

    def __init__(self, pool: nn.Module, *, momentum: float = 0.01) -> None:
        super().__init__()
        if not (hasattr(pool, "values") and hasattr(pool, "build_from")):
            raise InputError(
                f"{type(pool).__name__} has no entries that could be mixed: give a pool of tokens"
                " or prefixes"
            )
        in_range(0, 1, momentum=momentum)
        self.pool = pool
        self.momentum = momentum

    @property
    def inner(self) -> ValuePool:
        """The pool underneath."""
        return cast(ValuePool, self.pool)

    @property
    def blocks(self) -> Sequence[int]:
        """Blocks that the pool prompts."""
        blocks: Sequence[int] = getattr(self.pool, "blocks", (0,))
        return blocks

    @property
    def values(self) -> Tensor:
        """The pool's values, the current task's entry mixed."""
        plain = self.inner.values
        task = self.task
        if not 0 < task < len(plain):
            return plain
        past = plain[:task].detach()
        mixed = (1 - self.momentum) * plain[task] + self.momentum * past.mean(dim=0)
        return torch.cat([past, mixed[None], plain[task + 1 :]])

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Keep the mixture of the task that ends."""
        self.inner.values.copy_(self.values)

    def build(self, selection: Selection | None) -> PromptPlan:
        """The pool's plan of the mixed entries."""
        return self.inner.build_from(self.values, selection)
