"""Prompts of experts that are trained one after the other (FlyPrompt)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.checks import whole_number
from cl_prompts.prompts.pools import pooled_plan
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import TaskAware


class ExpertTokens(TaskAware):
    """Context tokens of experts that train one after the other (FlyPrompt, ICLR 2026, arXiv
    2602.01976).

    Expert e begins as the mean of all before it, the first one as U[0, 1). When the next one starts
    (:func:`~cl_prompts.prompts.task_aware.start_task`), its predecessors no longer require a
    gradient.

    Deviation: each expert is a Parameter of its own, so a finished one stands still. In the
    published code all are one Parameter, which Adam's momentum keeps moving for about ten steps
    (``TokenPool`` is of that form).

    Args:
        n_experts: experts in all.
        blocks: blocks that receive prompts, 0-based.
        length: tokens per expert and block.
        dim: token width.
        position: (dim,) constant added to every token, or None; see
            :func:`~cl_prompts.prompts.pools.class_position`.

    Raises:
        InputError: no expert.

    Example:
        >>> experts = ExpertTokens(3, range(5), 20, 16)
        >>> experts.start_task(1)
        >>> [p.requires_grad for p in experts.values]
        [False, True, True]
    """

    position: Tensor | None

    def __init__(
        self,
        n_experts: int,
        blocks: Sequence[int],
        length: int,
        dim: int,
        *,
        position: Tensor | None = None,
    ) -> None:
        super().__init__()
        whole_number("n_experts", n_experts)
        self.blocks = tuple(blocks)
        self.values = nn.ParameterList(
            torch.rand(len(self.blocks), length, dim) for _ in range(n_experts)
        )
        self.register_buffer("position", position, persistent=False)

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Copy the mean of the predecessors, and fix them."""
        whole_number("expert", task, 0, len(self.values) - 1, "n_experts - 1")
        if task > 0:
            self.values[task].copy_(torch.stack(list(self.values)[:task]).mean(dim=0))
        self._fix_before(task)

    def build(self, selection: Selection | None) -> PromptPlan:
        """Tokens of the selected expert: block -> (batch, k * length, dim)."""
        values = torch.stack(list(self.values))
        values = values if self.position is None else values + self.position
        return pooled_plan(values, self.blocks, selection)

    def set_extra_state(self, state: Tensor) -> None:
        """The expert, and with it which ones train."""
        super().set_extra_state(state)
        self._fix_before(self.task)

    def _fix_before(self, task: int) -> None:
        for i, values in enumerate(self.values):
            values.requires_grad_(i >= task)
            if i < task:
                values.grad = None
