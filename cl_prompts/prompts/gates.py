"""Gates on the attention scores of prefixes (NoRGa)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.pools import Pool
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import TaskAware, fix_before

GateActivation = Literal["tanh", "sigmoid", "gelu", "relu", "identity"]

ACTIVATIONS: dict[GateActivation, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "relu": torch.relu,
    "identity": lambda scores: scores,
}


class ScoreGate(nn.Module):
    """``s + a2 act(a1 s)`` on the scores of prefix rows, before the softmax (NoRGa).

    NeurIPS 2024, arXiv 2405.14124. a1 and a2 are learned, start at 1 and are shared by heads and
    rows.

    Args:
        activation: published: tanh; sigmoid for ViTs trained with labels on ImageNet-21k.

    Example:
        >>> ScoreGate("identity")(torch.ones(1, 2, 3, 4)).unique().item()
        2.0
    """

    def __init__(self, activation: GateActivation = "tanh") -> None:
        super().__init__()
        self.activation = activation
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, scores: Tensor) -> Tensor:
        """Scaled scores (batch, heads, queries, rows) -> the same shape."""
        inner, outer = self.scale.to(scores.dtype).unbind()
        return scores + outer * ACTIVATIONS[self.activation](inner * scores)


class GatedPrefixes(TaskAware):
    """A pool of prefixes with a :class:`ScoreGate` in each block (NoRGa).

    Gates train with the prompts in the first task and are then frozen.

    Args:
        pool: any pool of prefixes.
        blocks: its blocks, 0-based.
        activation: of the gates.

    Example:
        >>> from cl_prompts.prompts import SharedPrefix
        >>> pool = GatedPrefixes(SharedPrefix((0, 1), 3, 16, 2), (0, 1))
        >>> sorted(pool.build(None).gate)
        [0, 1]
    """

    def __init__(
        self, pool: nn.Module, blocks: Sequence[int], *, activation: GateActivation = "tanh"
    ) -> None:
        super().__init__()
        self.pool = pool
        self.blocks = tuple(blocks)
        self.gates = nn.ModuleList(ScoreGate(activation) for _ in self.blocks)

    def build(self, selection: Selection | None) -> PromptPlan:
        """The pool's plan with gates."""
        plan = cast(Pool, self.pool).build(selection)
        plan.add(PromptPlan(gate=dict(zip(self.blocks, self.gates, strict=True))))
        return plan

    def fix_earlier(self) -> None:
        """Freeze the gates after the first task."""
        fix_before([self.gates], self.task)
