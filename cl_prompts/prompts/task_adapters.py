"""Adapters: small bottlenecks beside the MLPs of a frozen ViT, in sets that are trained one after
the other (EASE)."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.attention import BlockAdapter
from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.errors import InputError
from cl_prompts.prompts.task_aware import TaskAware, fix_before


class Adapter(nn.Module):
    """A bottleneck that runs beside a block's MLP (AdaptFormer's form, as APER and EASE use it).

    ``a(x) = scale * (relu(x Wd' + bd) Wu' + bu)`` on the tokens x behind the attention, which are
    not normed; its result is added to the block's output: ``x'' = x + MLP(LN(x)) + a(x)``. Wd
    begins as U(-1/sqrt(dim), 1/sqrt(dim)), all else at zero, so that the model begins as the frozen
    one.

    Args:
        dim: width of a token.
        bottleneck: width of the hidden layer, r.
        scale: s.
        dropout: on the hidden layer, in training; drawn from torch's global generator.

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
        # An adapter adds nothing until its first step, so that a new task begins at the ViT.
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    @property
    def macs_per_token(self) -> int:
        """Multiply-accumulates for one token."""
        # Two products of the same size, down and up.
        return 2 * self.down.weight.numel()

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, n, dim) -> (batch, n, dim) in their type; computed in that of the weights,
        or as autocast says."""
        # a(x) = s (relu(x Wd' + bd) Wu' + bu)
        hidden = F.relu(self.down(tokens.to(self.down.weight.dtype)))
        hidden = F.dropout(hidden, self.dropout, self.training)
        return (self.scale * self.up(hidden)).to(tokens.dtype)


class TaskAdapters(TaskAware):
    """One :class:`Adapter` beside every block, a set of them a task, which stands still once the
    next task starts; all images get the same.

    With ``spare`` there may be more tasks than sets: later ones have none.

    Args:
        n_tasks: sets in all.
        depth: blocks of the ViT.
        dim: width of a token.
        bottleneck: see :class:`Adapter`, and so are ``scale`` and
            ``dropout``.
        scale: of the adapters.
        dropout: of the adapters.
        spare: let tasks start for which there are no adapters.

    Raises:
        InputError: a number out of range, or without ``spare`` a task beyond ``n_tasks``.

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
        # Later ones may get the memory of those that are gone.
        self._identity = object()
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
        """Sets whose task has started; the first one's from the beginning."""
        return min(max(self.task, 0) + 1, len(self.sets))

    def begin(self, task: int) -> None:
        """Check that the task has adapters."""
        if task >= len(self.sets) and not self.spare:
            raise InputError(
                f"task {task} has no adapters: they were made for n_tasks={len(self.sets)}"
            )

    def fix_earlier(self) -> None:
        """Fix the sets of the tasks before."""
        fix_before(self.sets, self.task)
        # The sets that stand still from now on leave training mode.
        self.train(self.training)

    def train(self, mode: bool = True) -> TaskAdapters:
        """Set the mode, but for sets that stand still: they drop nothing out."""
        super().train(mode)
        for part in self.sets[: max(self.task, 0)]:
            part.eval()
        return self

    def build(self, task: int) -> PromptPlan:
        """The plan with a task's adapters, block by block."""
        adapters = cast(nn.ModuleList, self.sets[task])
        return PromptPlan(adapter={i: cast(BlockAdapter, a) for i, a in enumerate(adapters)})

    def version(self, task: int) -> Hashable:
        """Version of a set for caches: it changes whenever a parameter is written to."""
        # Torch has no public name for the counter of writes to a tensor.
        writes = tuple((p.data_ptr(), p._version) for p in self.sets[task].parameters())  # noqa: SLF001
        return self._identity, writes
