"""Prefixes: keys and values that join a block's attention after its projections.

DualPrompt, S-Prompt++, OnePrompt, and NoRGa's gates on their scores. A prefix of length n is n keys
*and* n values. The CODA-Prompt repository counts both: its "length 20" is length 10 here. Arguments
are those of :mod:`cl_prompts.prompts.pools`.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.attention import KeyValue
from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.pools import Pool, ValuePool, gather
from cl_prompts.prompts.selectors import Distribution, Selection, drawn
from cl_prompts.prompts.task_aware import TaskAware, fix_before
from cl_prompts.prompts.task_selectors import copy_slot

PrefixLayout = Literal["own", "published"]
GateActivation = Literal["tanh", "sigmoid", "gelu", "relu", "identity"]

ACTIVATIONS: dict[GateActivation, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "relu": torch.relu,
    "identity": lambda scores: scores,
}


def split_heads(rows: Tensor, heads: int) -> KeyValue:
    """Rows (batch, 2, n, dim) -> keys and values, each (batch, heads, n, dim / heads)."""
    keys, values = rows.unflatten(-1, (heads, -1)).transpose(2, 3).unbind(1)
    return keys, values


def prefix_plan(blocks: Sequence[int], rows: Tensor, heads: int) -> PromptPlan:
    """Plan of prefixes with rows (blocks, batch or 1, 2, n, dim)."""
    return PromptPlan(
        prefix={block: split_heads(own, heads) for block, own in zip(blocks, rows, strict=True)}
    )


class SharedPrefix(ValuePool):
    """One prefix per block for all images (DualPrompt's G-prompt, OnePrompt).

    SinglePrompt's published code adds the class token's positional embedding to every row, which
    has no meaning after the projections.

    Example:
        >>> prefix = SharedPrefix((0, 1), length=5, dim=16, heads=4)
        >>> keys, values = prefix.build(None).prefix[0]
        >>> tuple(keys.shape)  # one for all images, heads, keys, width of a head
        (1, 4, 5, 4)
    """

    def __init__(
        self,
        blocks: Sequence[int],
        length: int,
        dim: int,
        heads: int,
        *,
        initial: Distribution = "uniform",
    ) -> None:
        super().__init__(drawn((len(blocks), 2, length, dim), initial))
        self.blocks = tuple(blocks)
        self.heads = heads

    def build_from(self, values: Tensor, selection: Selection | None) -> PromptPlan:
        """The prefix of each block, whatever the selection."""
        return prefix_plan(self.blocks, values[:, None], self.heads)


class PrefixPool(ValuePool, TaskAware):
    """Prefixes by entry and block (DualPrompt's E-prompts).

    Every image gets the keys and values of its own entries; several entries are concatenated
    (L2P++). The published code of HiDe-Prompt and NoRGa, like the PyTorch ports of DualPrompt,
    permutes the gathered rows: image b gets entries 2b and 2b + 1 of a list of all images' keys
    followed by all images' values. So half of a batch gets keys as values, the other half values as
    keys, and with mixed entries images get each other's prompts: predictions depend on other
    samples of the batch. ``layout="published"`` reproduces it for comparison.

    Args:
        copy_slots: entries per task that start as a copy of the previous task's (DualPrompt: 1); 0:
            none.
        layout: ``"own"`` or ``"published"``, see above.

    Example:
        >>> from cl_prompts.prompts import NearestKeys
        >>> pool = PrefixPool(10, (2, 3, 4), length=20, dim=16, heads=4)
        >>> keys, values = pool.build(NearestKeys(10, 16)(torch.randn(7, 16))).prefix[2]
        >>> tuple(keys.shape)
        (7, 4, 20, 4)
    """

    task_axes: ClassVar = {"values": 0}

    def __init__(
        self,
        size: int,
        blocks: Sequence[int],
        length: int,
        dim: int,
        heads: int,
        *,
        initial: Distribution = "uniform",
        copy_slots: int = 0,
        layout: PrefixLayout = "own",
    ) -> None:
        super().__init__(drawn((size, len(blocks), 2, length, dim), initial))
        self.blocks = tuple(blocks)
        self.heads = heads
        self.initial = initial
        self.copy_slots = copy_slots
        self.layout = layout

    def begin(self, task: int) -> None:
        """Copy the previous task's slot, with ``copy_slots``."""
        copy_slot(self.values, task, self.copy_slots)

    def build_from(self, values: Tensor, selection: Selection | None) -> PromptPlan:
        """Block -> keys and values, each (batch, heads, k * length, dim / heads)."""
        # (batch, k, blocks, 2, length, dim) -> (batch, blocks, 2, k * length, dim)
        rows = gather(values, selection).permute(0, 2, 3, 1, 4, 5).flatten(3, 4)
        if self.layout == "published":
            # All keys, then all values, distributed two by two.
            dealt = rows.permute(1, 2, 0, 3, 4).flatten(1, 2).unflatten(1, (-1, 2))
            rows = dealt.transpose(0, 1)
        return prefix_plan(self.blocks, rows.transpose(0, 1), self.heads)


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
