"""Adapters: bottlenecks beside the MLPs of a frozen ViT, one set per task (EASE)."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.attention import BlockAdapter
from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.task_aware import TaskAware, fix_before, need_task


class Adapter(nn.Module):
    """A bottleneck beside a block's MLP (AdaptFormer's form, as in APER and EASE).

    ``a(x) = scale * (relu(x Wd' + bd) Wu' + bu)`` on the tokens x after the attention, before the
    norm: ``x'' = x + MLP(LN(x)) + a(x)``. Wd starts as U(-1/sqrt(dim), 1/sqrt(dim)), all else as
    zero, so that the model starts as the frozen one.

    Args:
        dim: token width.
        bottleneck: width of the hidden layer.
        scale: see above.
        dropout: on the hidden layer in training, from torch's global generator.

    Example:
        >>> import torch
        >>> adapter = Adapter(16, bottleneck=4)
        >>> bool((adapter(torch.randn(2, 5, 16)) == 0).all())
        True
    """

    def __init__(
        self, dim: int, *, bottleneck: int = 64, scale: float = 0.1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.scale = scale
        self.dropout = dropout
        self.down = nn.Linear(dim, bottleneck)
        self.up = nn.Linear(bottleneck, dim)
        bound = dim**-0.5
        nn.init.uniform_(self.down.weight, -bound, bound)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    @property
    def macs_per_token(self) -> int:
        """Multiply-accumulates for one token."""
        return 2 * self.down.weight.numel()

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, n, dim) -> the same shape and type."""
        hidden = F.relu(self.down(tokens.to(self.down.weight.dtype)))
        hidden = F.dropout(hidden, self.dropout, self.training)
        return (self.scale * self.up(hidden)).to(tokens.dtype)


class TaskAdapters(TaskAware):
    """Sets of adapters, one per task, with one :class:`Adapter` beside every block.

    A set is frozen when the next task starts; all images get the same set.

    Args:
        n_tasks: number of sets.
        depth: blocks of the ViT.
        dim: token width.
        bottleneck: see :class:`Adapter`.
        scale: see :class:`Adapter`.
        dropout: see :class:`Adapter`.
        spare: allow tasks beyond ``n_tasks``, without adapters.

    Raises:
        InputError: a number out of range, or a task beyond ``n_tasks`` without ``spare``.

    Example:
        >>> adapters = TaskAdapters(2, depth=4, dim=16, bottleneck=3)
        >>> adapters.start_task(1)
        >>> [all(p.requires_grad for p in part.parameters()) for part in adapters.sets]
        [False, True]
    """

    def __init__(
        self,
        n_tasks: int,
        depth: int,
        dim: int,
        *,
        bottleneck: int = 64,
        scale: float = 0.1,
        dropout: float = 0.1,
        spare: bool = False,
    ) -> None:
        super().__init__()
        self.spare = spare
        self.depth = depth
        self._adapter = partial(Adapter, dim, bottleneck=bottleneck, scale=scale, dropout=dropout)
        self.sets = nn.ModuleList()
        for _ in range(n_tasks):
            self.add_task()

    def add_task(self) -> None:
        """Append the adapters of a further task."""
        new = nn.ModuleList(self._adapter() for _ in range(self.depth))
        for known in self.sets[:1]:
            new.to(next(known.parameters()).device)
        self.sets.append(new)

    @property
    def started(self) -> int:
        """Number of sets whose task has started, at least 1."""
        return min(max(self.task, 0) + 1, len(self.sets))

    def begin(self, task: int) -> None:
        """Check that the task has adapters."""
        if not self.spare:
            need_task(task, len(self.sets), "adapters")

    def fix_earlier(self) -> None:
        """Freeze the sets of earlier tasks."""
        fix_before(self.sets, self.task)
        # Frozen sets leave training mode.
        self.train(self.training)

    def train(self, mode: bool = True) -> TaskAdapters:
        """Set the mode; frozen sets stay in evaluation mode, without dropout."""
        super().train(mode)
        for part in self.sets[: max(self.task, 0)]:
            part.eval()
        return self

    def build(self, task: int) -> PromptPlan:
        """The plan with a task's adapters, block by block."""
        adapters = cast(nn.ModuleList, self.sets[task])
        return PromptPlan(adapter={i: cast(BlockAdapter, a) for i, a in enumerate(adapters)})

    def version(self, task: int) -> Hashable:
        """Version of a set for caches; it changes with every write to a parameter."""
        # Torch has no public name for a tensor's version counter.
        return tuple((p.data_ptr(), p._version) for p in self.sets[task].parameters())  # noqa: SLF001
