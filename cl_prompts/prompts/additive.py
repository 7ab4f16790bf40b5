"""Additive prompts: vectors added to the class token's key and value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import TaskAware


class AdditivePrompt(TaskAware):
    """Two vectors per block, added to the class token's key and value (APT).

    ICCV 2025, arXiv 2503.07979. They are added after the projection, so a pass costs as much as
    without prompts. At a task's end the prompts are merged, ``merged <- beta merged + (1 - beta)
    current`` (the first task's are copied); evaluation uses the merged ones, training continues
    with the current ones.

    Evaluation *within* a task uses the present merger, which at the task's end is the published
    value; :func:`~cl_prompts.prompts.task_aware.start_task` stores it. Without task boundaries
    nothing is merged.

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
        """(blocks, 2, dim) current prompts in training, merged ones in evaluation."""
        if self.training or self.task < 1:
            return self.values
        return self.beta * self.merged + (1 - self.beta) * self.values

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Store the merger of the finished task."""
        if task < 1:
            return
        past = self.merged if self.task >= 1 else self.values
        self.merged.copy_(self.beta * past + (1 - self.beta) * self.values)

    def build(self, selection: Selection | None) -> PromptPlan:
        """Block -> twice (1, heads, dim / heads), whatever the selection."""
        rows = self.used().unflatten(-1, (self.heads, -1))
        return PromptPlan(
            additive={b: (rows[i, 0][None], rows[i, 1][None]) for i, b in enumerate(self.blocks)}
        )
