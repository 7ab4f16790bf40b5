"""Pools around a pool, which change its values before prompts are built of them: slots mixed with
those before them, and averages over the course of a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.errors import InputError
from cl_prompts.prompts.pools import ValuePool
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import TaskAware
from cl_prompts.prompts.task_selectors import slot_rows


class WrappedPool(TaskAware):
    """Base of pools that build their prompts of another pool's values, changed: subclasses say how
    in :attr:`values`.

    Args:
        pool: a pool with ``values`` and ``build_from``.

    Example:
        >>> from cl_prompts.prompts.pools import SharedTokens
        >>> class Doubled(WrappedPool):
        ...     @property
        ...     def values(self) -> Tensor:
        ...         return 2 * self.inner.values
        >>> pool = Doubled(SharedTokens((3,), 5, 16))
        >>> bool(torch.equal(pool.build(None).context[3], 2 * pool.pool.build(None).context[3]))
        True
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.has_entries: bool = getattr(pool, "has_entries", hasattr(pool, "task_axes"))
        """Whether the first axis of the values counts entries."""

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
        """The values that prompts are built of, in the shape of the pool's."""
        raise NotImplementedError

    def build(self, selection: Selection | None) -> PromptPlan:
        """The pool's plan of the changed values."""
        return self.inner.build_from(self.values, selection)


class MomentumSlots(WrappedPool):
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
        super().__init__(pool)
        self.momentum = momentum

    @property
    def values(self) -> Tensor:
        """The pool's values, the current task's entry mixed."""
        plain = self.inner.values
        task = self.task
        if not 0 < task < len(plain):
            return plain
        past = plain[:task].detach()
        # P_used = (1 - momentum) P_t + momentum * mean over s < t of P_s
        mixed = (1 - self.momentum) * plain[task] + self.momentum * past.mean(dim=0)
        return torch.cat([past, mixed[None], plain[task + 1 :]])

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Keep the mixture of the task that ends."""
        # self.task is still the task that ends, so its entry is the one that is mixed.
        self.inner.values.copy_(self.values)


def gaussian_weights(n: int, mean: float, std: float) -> list[float]:
    """Weights of the checkpoints 1 .. n: ``exp(-(i - mean)^2 / (2 std^2))``, of sum 1.

    Args:
        n: checkpoints.
        mean: where the weight is greatest, counted from 1.
        std: width.

    Example:
        >>> [round(w, 2) for w in gaussian_weights(5, 3, 1)]
        [0.05, 0.24, 0.4, 0.24, 0.05]
    """
    # w_i = exp(-(i - mu)^2 / (2 sigma^2)) / sum_j w_j
    raw = [math.exp(-((i - mean) ** 2) / (2 * std**2)) for i in range(1, n + 1)]
    total = sum(raw)
    if total == 0:
        raise InputError(
            f"a Gaussian around {mean:g} with std {std:g} reaches none of {n} checkpoints: give a"
            " larger std or another mean"
        )
    return [weight / total for weight in raw]


class AveragedPrompts(WrappedPool):
    """A pool of which evaluation uses the Gaussian average of its values over the checkpoints of a
    task (PromptSRC, Khattak et al., ICCV 2023, arXiv 2307.06948).

    Training goes on from the values as they are. Until all checkpoints of a task were taken, the
    weights of those that were are scaled to sum 1; before the first one, evaluation uses the values
    themselves. Entries of a task's own are replaced by their average when the next task starts, as
    published for the whole state (20 epochs, mean 15, std 1).

    Args:
        pool: a pool with ``values`` and ``build_from``.
        n: checkpoints of a task.
        mean: where the weight is greatest, from 1; None: three quarters of n.
        std: width; None: a tenth of n.
        slots: entries of a task; 0: tasks share all.

    Raises:
        InputError: a pool without values, or as :func:`gaussian_weights`.

    Example:
        >>> from cl_prompts.prompts.pools import SharedTokens
        >>> pool = AveragedPrompts(SharedTokens((0,), 5, 16), n=2, mean=1.5, std=1)
        >>> first = pool.values.detach().clone()
        >>> pool.take_checkpoint()
        >>> pool.pool.values.data += 1
        >>> pool.take_checkpoint()
        >>> bool(torch.allclose(pool.eval().build(None).context[0], first + 0.5, atol=1e-6))
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
        super().__init__(pool)
        mean = 0.75 * n if mean is None else mean
        self.weights = gaussian_weights(n, mean, n / 10 if std is None else std)
        self.slots = slots
        self.task_axes = {"sums": 0} if self.has_entries else {}
        self.register_buffer("sums", torch.zeros_like(self.inner.values))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))

    @property
    def values(self) -> Tensor:
        """In training the pool's values, in evaluation their average so far."""
        plain: Tensor = self.inner.values
        if self.training:
            return plain
        # sum of w_i P_i over the checkpoints so far, divided by the sum of their w_i
        # torch.where computes both sides: no division by zero before the first checkpoint.
        average = self.sums / self.weight.clamp(min=torch.finfo(torch.float64).tiny)
        return torch.where(self.weight > 0, average.to(plain.dtype), plain)

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
        # A task without a checkpoint keeps its values.
        if ended is not None and bool(self.weight > 0):
            self.inner.values[ended] = (self.sums[ended] / self.weight).to(self.sums.dtype)
        self.restart()
