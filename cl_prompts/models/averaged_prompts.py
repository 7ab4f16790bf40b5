"""Prompts of which evaluation uses an average over the course of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.checks import whole_number
from cl_prompts.errors import InputError
from cl_prompts.prompts.parameterisations import ValuePool
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import TaskAware
from cl_prompts.prompts.task_selectors import slot_rows
from cl_prompts.training.averaging import gaussian_weights


class AveragedPrompts(TaskAware):
    """A pool of which evaluation uses the Gaussian average of its values over the checkpoints of a
    task (PromptSRC, Khattak et al., ICCV 2023, arXiv 2307.06948).

    Training goes on from the values as they are. Until all checkpoints of a task were taken, the
    weights of those that were are scaled to sum 1; before the first one, evaluation uses the values
    themselves. Entries of a task's own are replaced by their average when the next task starts, as
    published for the whole state.

    Args:
        pool: a pool with ``values`` and ``build_from``.
        n: checkpoints of a task.
        mean: where the weight is greatest, from 1; None: three quarters of n.
        std: width; None: a tenth of n.
        slots: entries of a task; 0: tasks share all.

    Raises:
        InputError: a pool without values, or as
            :func:`~cl_prompts.training.averaging.gaussian_weights`.

    Example:
        >>> from cl_prompts.prompts.pools import SharedTokens
        >>> pool = AveragedPrompts(SharedTokens((0,), 5, 16), n=2, mean=1.5, std=1)
        >>> first = pool.values.detach().clone()
        >>> pool.take_checkpoint()
        >>> pool.pool.values.data += 1
        >>> pool.take_checkpoint()
        >>> bool(torch.allclose(pool.eval().build(None).context[0], first + 0.5))
        True
    """

    sums: Tensor
    weight: Tensor
    added: Tensor

    def __init__(
        self,
        pool: nn.Module,
        n: int,
        *,
        mean: float | None = None,
        std: float | None = None,
        slots: int = 0,
    ) -> None:
        super().__init__()
        if not (hasattr(pool, "values") and hasattr(pool, "build_from")):
            raise InputError(
                f"{type(pool).__name__} has no values that could be averaged: give a pool of tokens"
                " or prefixes"
            )
        whole_number("slots", slots, low=0)
        mean, std = 0.75 * n if mean is None else mean, n / 10 if std is None else std
        self.pool = pool
        self.weights = gaussian_weights(n, mean, std)
        self.slots = slots
        self.register_buffer("sums", torch.zeros_like(self.inner.values))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))

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
        """In training the pool's values, in evaluation their average so far."""
        plain: Tensor = self.inner.values
        if self.training:
            return plain
        average = self.sums / self.weight.clamp(min=torch.finfo(torch.float64).tiny)
        return torch.where(self.weight > 0, average.to(plain.dtype), plain)

    def build(self, selection: Selection | None) -> PromptPlan:
        """The pool's plan of these values."""
        return self.inner.build_from(self.values, selection)

    @torch.no_grad()
    def take_checkpoint(self) -> None:
        """Add the values as they are, unless all checkpoints of the task were taken."""
        number = int(self.added)
        if number < len(self.weights):
            self.sums += self.weights[number] * self.inner.values
            self.weight += self.weights[number]
            self.added += 1

    @torch.no_grad()
    def restart(self) -> None:
        """Forget all checkpoints: the next one is the first of a task."""
        for buffer in (self.sums, self.weight, self.added):
            buffer.zero_()

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Replace the entries of the task that ends by their average, and restart."""
        ended = slot_rows(task - 1, self.slots, len(self.sums)) if self.slots else None
        if ended is not None and bool(self.weight > 0):
            self.inner.values[ended] = (self.sums[ended] / self.weight).to(self.sums.dtype)
        self.restart()
