"""Pools of prompts, which turn a selection into a plan of prompts.

The plan is a :class:`~cl_prompts.backbones.injection.PromptPlan`. A pool owns its values and the
blocks that they enter. Prefixes are in :mod:`cl_prompts.prompts.prefixes`, weighted components in
:mod:`cl_prompts.prompts.components`.

Arguments of all pools: ``size`` entries, each with ``length`` rows of width ``dim`` in each of the
``blocks`` (numbers from 0); ``heads`` of the ViT's attention; ``initial``, a distribution of
:func:`~cl_prompts.prompts.selectors.drawn`.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.injection import PooledTokens, PromptPlan
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Size
from cl_prompts.errors import InputError
from cl_prompts.prompts.selectors import INITIAL, Distribution, Selection, drawn
from cl_prompts.prompts.task_aware import TaskAware, fix_before, need_task
from cl_prompts.prompts.task_selectors import copy_slot

#: Block numbers, 0-based.
Blocks = Sequence[Size]


class Pool(Protocol):
    """Interface of pools: build prompts from a selection.

    A pool names its prompted blocks in an attribute ``blocks``. Without it prompts may enter
    anywhere, and passes with and without prompts share no block.

    Example:
        >>> class NoPrompts:
        ...     def build(self, selection: Selection | None) -> PromptPlan:
        ...         return PromptPlan()
        >>> pool: Pool = NoPrompts()
        >>> pool.build(None).extra_keys(0)
        (0, 0)
    """

    def build(self, selection: Selection | None) -> PromptPlan:
        """Build the prompts of a batch."""
        ...


class ValuePool(nn.Module):
    """Base of pools whose prompts are one Parameter (..., rows, dim).

    Attributes:
        initial: distribution of further entries.

    Example:
        >>> pool: ValuePool = SharedTokens((0,), 5, 16)
        >>> pool.build_from(torch.zeros_like(pool.values), None).context[0].abs().sum().item()
        0.0
    """

    initial: Distribution = "normal"

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    def fresh(self, name: str, rows: Tensor) -> None:
        """Initialise further entries."""
        rows.copy_(INITIAL[self.initial](rows.shape))

    def build(self, selection: Selection | None) -> PromptPlan:
        """Build the prompts of a batch."""
        return self.build_from(self.values, selection)

    def build_from(self, values: Tensor, selection: Selection | None) -> PromptPlan:
        """:meth:`build` with other values of the same shape."""
        raise NotImplementedError


class SharedTokens(ValuePool):
    """Context tokens per block for all images (MVP's and DualPrompt's G-prompts).

    Example:
        >>> pool = SharedTokens((0, 1), length=5, dim=16)
        >>> tuple(pool.build(None).context[1].shape)
        (1, 5, 16)
    """

    def __init__(self, blocks: Sequence[int], length: int, dim: int) -> None:
        super().__init__(torch.randn(len(blocks), length, dim))
        self.blocks = tuple(blocks)

    def build_from(self, values: Tensor, selection: Selection | None) -> PromptPlan:
        """Block -> (1, length, dim), whatever the selection."""
        return PromptPlan(context=dict(zip(self.blocks, values[None].unbind(1), strict=True)))


class TokenPool(ValuePool):
    """Context tokens by entry and block (MVP's E-prompts).

    The tokens of several selected entries are concatenated.

    Example:
        >>> from cl_prompts.prompts import NearestKeys
        >>> pool = TokenPool(10, (2, 3, 4), length=20, dim=16)
        >>> plan = pool.build(NearestKeys(10, 16)(torch.randn(7, 16)))
        >>> tuple(plan.pooled[2].tokens().shape)
        (7, 20, 16)
    """

    task_axes: ClassVar = {"values": 0}

    def __init__(self, size: int, blocks: Sequence[int], length: int, dim: int) -> None:
        super().__init__(torch.randn(size, len(blocks), length, dim))
        self.blocks = tuple(blocks)

    def build_from(self, values: Tensor, selection: Selection | None) -> PromptPlan:
        """Block -> (batch, k * length, dim) tokens of the selected entries."""
        return pooled_plan(values, self.blocks, selection)


class PrependedTokenPool(ValuePool, TaskAware):
    """Prepended tokens: they join the sequence before block 0 (L2P, prompt tuning).

    They carry no positional embedding, as in L2P's JAX code. Its PyTorch port adds the class
    token's, a constant vector.

    Args:
        length: tokens per entry; k selected entries make the sequence k * length tokens longer.
        copy_slots: entries per task that start as a copy of the previous task's (L2P's "shared
            prompt pool"); 0: none.

    Example:
        >>> from cl_prompts.prompts import NearestKeys
        >>> pool = PrependedTokenPool(10, length=5, dim=16)
        >>> plan = pool.build(NearestKeys(10, 16, k=5)(torch.randn(7, 16)))
        >>> tuple(plan.prepended.shape)  # images, selected entries * length, width
        (7, 25, 16)
    """

    def __init__(
        self,
        size: int,
        length: int,
        dim: int,
        *,
        initial: Distribution = "uniform",
        copy_slots: int = 0,
    ) -> None:
        super().__init__(drawn((size, length, dim), initial))
        self.copy_slots = copy_slots

    def begin(self, task: int) -> None:
        """Copy the previous task's slot, with ``copy_slots``."""
        copy_slot(self.values, task, self.copy_slots)

    def build_from(self, values: Tensor, selection: Selection | None) -> PromptPlan:
        """(batch, k * length, dim) prepended tokens, in the order of the selection."""
        # (batch, k, length, dim) -> (batch, k * length, dim)
        return PromptPlan(prepended=gather(values, selection).flatten(1, 2))


class ExpertTokens(TaskAware):
    """Context tokens of experts that train one after the other (FlyPrompt, ICLR 2026).

    arXiv 2602.01976. Expert e starts as the mean of all earlier ones, the first as U[0, 1). When an
    expert starts (:func:`~cl_prompts.prompts.task_aware.start_task`), the earlier ones are frozen.

    Deviation: each expert is a separate Parameter, so a finished one is constant. In the published
    code all are one Parameter, and Adam's momentum changes finished experts for about ten steps, as
    in :class:`TokenPool`.

    Example:
        >>> experts = ExpertTokens(3, range(5), 20, 16)
        >>> experts.start_task(1)
        >>> [p.requires_grad for p in experts.values]
        [False, True, True]
    """

    def __init__(self, n_experts: int, blocks: Sequence[int], length: int, dim: int) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.values = nn.ParameterList(
            torch.rand(len(self.blocks), length, dim) for _ in range(n_experts)
        )

    def add_task(self) -> None:
        """Append an expert."""
        first = self.values[0]
        self.values.append(torch.rand(first.shape).to(first.device))

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Copy the mean of the earlier experts."""
        need_task(task, len(self.values), "prompts")
        # v_e = mean of v_0 .. v_{e-1}
        if task > 0:
            self.values[task].copy_(torch.stack(list(self.values)[:task]).mean(dim=0))

    def fix_earlier(self) -> None:
        """Freeze the earlier experts."""
        fix_before(self.values, self.task)

    def build(self, selection: Selection | None) -> PromptPlan:
        """Block -> (batch, k * length, dim) tokens of the selected expert."""
        return pooled_plan(torch.stack(list(self.values)), self.blocks, selection)


def pooled_plan(values: Tensor, blocks: Sequence[int], selection: Selection | None) -> PromptPlan:
    """Plan of the selected entries' tokens; values (size, blocks, length, dim)."""
    assert selection is not None, "a pool needs a model with a selector"
    # Entries and choices, so that a block can project each entry once for all images.
    return PromptPlan(
        pooled={
            block: PooledTokens(entries, selection.index)
            for block, entries in zip(blocks, values.unbind(1), strict=True)
        }
    )


def gather(values: Tensor, selection: Selection | None) -> Tensor:
    """(size, ...) -> the selected rows (batch, k, ...)."""
    assert selection is not None, "a pool needs a model with a selector"
    index = selection.index
    # Indexing is not deterministic in the backward pass.
    return F.embedding(index, values.flatten(1)).view(*index.shape, *values.shape[1:])


def chosen_blocks(backbone: FrozenViT, prompted_blocks: Blocks | None) -> Blocks:
    """Return the checked blocks of a setting; None means all."""
    if prompted_blocks is None:
        return range(backbone.depth)
    check_blocks(backbone.depth, prompted_blocks=prompted_blocks)
    return prompted_blocks


def prefix_shape(
    backbone: FrozenViT, prompted_blocks: Blocks | None, prompt_length: int
) -> tuple[Blocks, int, int, int]:
    """Return blocks, length, token width and heads, the first arguments of prefixes."""
    blocks = chosen_blocks(backbone, prompted_blocks)
    return blocks, prompt_length, backbone.dim, backbone.n_heads


def check_blocks(depth: int, **blocks: Sequence[int]) -> None:
    """Raise ``InputError`` for blocks that the ViT does not have.

    Args:
        depth: blocks of the ViT.
        **blocks: setting -> block numbers.

    Example:
        >>> check_blocks(4, e_blocks=(2, 3, 4))
        Traceback (most recent call last):
        cl_prompts.errors.InputError: e_blocks holds block 4, but this ViT has blocks 0 to 3
    """
    for name, chosen in blocks.items():
        if wrong := [block for block in chosen if not 0 <= block < depth]:
            raise InputError(
                f"{name} holds block {wrong[0]}, but this ViT has blocks 0 to {depth - 1}"
            )
