"""Pools around a pool: mixed slots, averages over a task, and encoders."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.pools import ValuePool
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import TaskAware
from cl_prompts.prompts.task_selectors import slot_rows


class WrappedPool(TaskAware):
    """Base of pools around a pool, whose :attr:`values` they transform.

    Args:
        pool: a pool with ``values`` and ``build_from``.

    Example:
        >>> from cl_prompts.prompts import SharedTokens
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
        """The wrapped pool."""
        return cast(ValuePool, self.pool)

    @property
    def blocks(self) -> Sequence[int]:
        """Blocks that the pool prompts."""
        blocks: Sequence[int] = getattr(self.pool, "blocks", (0,))
        return blocks

    @property
    def values(self) -> Tensor:
        """Values of the prompts, in the shape of the pool's."""
        raise NotImplementedError

    def build(self, selection: Selection | None) -> PromptPlan:
        """The pool's plan of the transformed values."""
        return self.inner.build_from(self.values, selection)


class MomentumSlots(WrappedPool):
    """One entry per task, mixed with the mean of earlier entries (HiDe-Prompt).

    NeurIPS 2023, arXiv 2310.07234. In task t > 0: ``P_used = (1 - momentum) P_t + momentum * mean
    over s < t of P_s``, with a constant mean; when the next task starts, P_t becomes the mixture.
    HiDe-Prompt uses 0.01 and ``copy_slots=1``.

    Args:
        pool: a pool of entries with ``values`` and ``build_from``.
        momentum: share of the earlier entries.

    Example:
        >>> from cl_prompts.prompts import PrefixPool
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
        """The pool's values with the current task's entry mixed."""
        plain = self.inner.values
        task = self.task
        if not 0 < task < len(plain):
            return plain
        past = plain[:task].detach()
        mixed = (1 - self.momentum) * plain[task] + self.momentum * past.mean(dim=0)
        return torch.cat([past, mixed[None], plain[task + 1 :]])

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Store the mixture of the finished task."""
        # self.task is still the finished task.
        self.inner.values.copy_(self.values)


def gaussian_weights(n: int, mean: float, std: float) -> list[float]:
    """Weights of the checkpoints 1 .. n, ``exp(-(i - mean)^2 / (2 std^2))``, with sum 1.

    Args:
        n: checkpoints.
        mean: checkpoint of greatest weight, from 1.
        std: width.

    Example:
        >>> [round(w, 2) for w in gaussian_weights(5, 3, 1)]
        [0.05, 0.24, 0.4, 0.24, 0.05]
    """
    raw = [math.exp(-((i - mean) ** 2) / (2 * std**2)) for i in range(1, n + 1)]
    return [weight / sum(raw) for weight in raw]


class AveragedPrompts(WrappedPool):
    """Gaussian average of a pool's values over the checkpoints of a task (PromptSRC).

    Khattak et al., ICCV 2023, arXiv 2307.06948. Evaluation uses the average, training the values.
    Within a task the weights of the checkpoints so far are scaled to sum 1; before the first one
    evaluation uses the values. When the next task starts, a task's own entries become their
    average, as published for the whole state (20 epochs, mean 15, std 1).

    Args:
        pool: a pool with ``values`` and ``build_from``.
        n: checkpoints of a task.
        mean: checkpoint of greatest weight, from 1; None: three quarters of n.
        std: width; None: a tenth of n.
        slots: entries of a task; 0: tasks share all.

    Raises:
        InputError: as :func:`gaussian_weights`.

    Example:
        >>> from cl_prompts.prompts import SharedTokens
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
        """The pool's values in training, their average so far in evaluation."""
        plain: Tensor = self.inner.values
        if self.training:
            return plain
        # torch.where computes both sides: no division by zero before the first checkpoint.
        average = self.sums / self.weight.clamp(min=torch.finfo(torch.float64).tiny)
        return torch.where(self.weight > 0, average.to(plain.dtype), plain)

    @torch.no_grad()
    def take_checkpoint(self) -> None:
        """Add the present values, unless all checkpoints of the task are taken."""
        number = int(self.added)
        if number < len(self.weights):
            self.sums += self.weights[number] * self.inner.values
            self.weight += self.weights[number]
            self.added += 1

    @torch.no_grad()
    def restart(self) -> None:
        """Discard all checkpoints: the next one is the first of a task."""
        for buffer in (self.sums, self.weight, self.added):
            buffer.zero_()

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Replace the entries of the finished task by their average, and restart."""
        ended = slot_rows(task - 1, self.slots, len(self.sums)) if self.slots else None
        if ended is not None and bool(self.weight > 0):
            self.inner.values[ended] = (self.sums[ended] / self.weight).to(self.sums.dtype)
        self.restart()


class Reparameterised(WrappedPool):
    """Prompts that pass an encoder during training, ``P' = enc(P) + P`` (PRE).

    Nguyen et al., arXiv 2309.07760. The encoder reads the rows of one entry and block as a
    sequence; all entries share it. :meth:`bake` replaces P by P' and skips the encoder afterwards:
    evaluation is unchanged, and later training of the encoder does not change these prompts. Slots
    per task require this at a task's end: ``slots=k`` bakes the previous task's k entries when a
    task starts. MISA's warm-up (ICLR 2025, arXiv 2503.00677) uses a projector, baked at its end.

    Args:
        pool: a pool with ``values`` and ``build_from``.
        encoder: rows (sequences, n, dim) -> the same shape, or an ``nn.LSTM``.
        slots: entries of a task, baked when the next task starts; 0: none.

    Example:
        >>> from cl_prompts.prompts import SharedTokens
        >>> pool = Reparameterised(SharedTokens((0, 1), 5, 16), nn.Linear(16, 16))
        >>> before = pool.build(None).context[1]
        >>> pool.bake()
        >>> bool(torch.equal(pool.build(None).context[1], before))
        True
    """

    baked: Tensor

    def __init__(self, pool: nn.Module, encoder: nn.Module, *, slots: int = 0) -> None:
        super().__init__(pool)
        self.slots = slots
        self.encoder = encoder
        self.task_axes = {"baked": 0} if self.has_entries else {}
        self.register_buffer("baked", torch.zeros(len(self.inner.values), dtype=torch.bool))

    @property
    def values(self) -> Tensor:
        """P' in the shape of the pool's values."""
        plain = self.inner.values
        # (size, blocks, ..., length, dim) -> (sequences, length, dim)
        encoded = self.encoder(plain.flatten(0, -3))
        encoded = encoded[0] if isinstance(self.encoder, nn.LSTM) else encoded
        encoded = encoded.reshape(plain.shape) + plain
        return torch.where(self.baked.view(-1, *[1] * (plain.dim() - 1)), plain, encoded)

    @torch.no_grad()
    def bake(self, entries: slice = slice(None)) -> None:
        """Replace P by P' permanently, in all entries or some."""
        self.inner.values[entries] = self.values[entries]
        self.baked[entries] = True

    def begin(self, task: int) -> None:
        """Bake the previous task's slot, with ``slots``."""
        before = slot_rows(task - 1, self.slots, len(self.baked)) if self.slots else None
        if before is not None:
            self.bake(before)
