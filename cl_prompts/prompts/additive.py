"""Additive prompts: vectors added to the class token's key and value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import TaskAware


class AdditivePrompt(TaskAware):
    """Two vectors a block, added to the class token's key and value behind the projection (APT,
    ICCV 2025, arXiv 2503.07979).

    There is no extra token, so a pass costs as much as without prompts. At a task's end the prompts
    are merged with those of the tasks before, ``merged <- beta merged + (1 - beta) current`` (the
    first task's are copied); evaluation uses the merged ones, training goes on from the current
    ones.

    Here evaluation *within* a task uses the merger as it would be now, which at the task's end is
    the published value; the next :func:`~cl_prompts.prompts.task_aware.start_task` keeps it. Where
    no boundaries are announced there is nothing to merge with.

    Args:
        blocks: prompted blocks, 0-based; published: all.
        dim: token width.
        heads: attention heads of the ViT.
        beta: share of the past in a merger; published: 0.7, for ImageNet-R 0.8.

    Example:
        >>> prompt = AdditivePrompt(range(12), 768, 12)
        >>> prompt.values.numel()
        18432
    """

    merged: Tensor

    def __init__(self, blocks: Sequence[int], dim: int, heads: int, *, beta: float = 0.7) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.heads = heads
        self.beta = beta
        self.values = nn.Parameter(torch.empty(len(self.blocks), 2, dim))
        nn.init.trunc_normal_(self.values, std=0.02)
        self.register_buffer("merged", torch.zeros_like(self.values))

    def used(self) -> Tensor:
        """(blocks, 2, dim) in training the current prompts, in evaluation their merger."""
        if self.training or self.task < 1:
            return self.values
        # beta merged + (1 - beta) current
        return self.beta * self.merged + (1 - self.beta) * self.values

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Keep the merger of the task that ends."""
        if task < 1:
            return
        # merged <- beta merged + (1 - beta) current; the first task's is a copy
        past = self.merged if self.task >= 1 else self.values
        self.merged.copy_(self.beta * past + (1 - self.beta) * self.values)

    def build(self, selection: Selection | None) -> PromptPlan:
        """Ignores the selection: block -> twice (1, heads, dim / heads)."""
        rows = self.used().unflatten(-1, (self.heads, -1))
        return PromptPlan(
            additive={b: (rows[i, 0][None], rows[i, 1][None]) for i, b in enumerate(self.blocks)}
        )
