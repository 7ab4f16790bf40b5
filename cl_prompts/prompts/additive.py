"""Prompts that are added: to the class token's key and value, or to the embedded tokens."""

from collections.abc import Sequence
from typing import ClassVar

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


class DecomposedTokens(nn.Module):
    """A low-rank update of the embedded tokens beside the prompts of other pools (DePT).

    Shi and Lipani, ICLR 2024, arXiv 2309.05173. ``tokens' = tokens + alpha / sqrt(rank) * A B``
    with A (n_tokens, rank) and B (rank, dim), for all images; the other pools hold the *short*
    prompt. On a ViT the tokens are the sequence after the positional embedding, class token
    included, so the update costs nothing in the blocks. A starts as U(-1/sqrt(rank),
    1/sqrt(rank)), B as zero: the model starts with the short prompt alone, and A has no gradient in
    the first step.

    For the budget of a prompt of length n, the short length m and the rank obey ``m dim + rank
    (n_tokens + dim) = n dim``: for ViT-B, n = 20 and m = 5 give rank 11.

    :meth:`bake` adds A B to a constant and sets B to zero, so that the next task learns a further
    update of this rank. Evaluation is unchanged.

    Args:
        n_tokens: length of the embedded sequence, ``FrozenViT.n_tokens``; fixes the image size.
        dim: token width.
        rank: of the update.
        alpha: see above.

    Example:
        >>> pool = DecomposedTokens(n_tokens=17, dim=16, rank=3)
        >>> pool.build(None).offset.shape
        torch.Size([1, 17, 16])
    """

    baked: Tensor
    shifts_tokens: ClassVar[bool] = True
    """It changes the embedded tokens, which the query pass reads unchanged."""

    def __init__(self, *, n_tokens: int, dim: int, rank: int, alpha: float = 8.0) -> None:
        super().__init__()
        self.scale = alpha / rank**0.5
        bound = rank**-0.5
        self.a = nn.Parameter(torch.empty(1, n_tokens, rank).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(1, rank, dim))
        self.register_buffer("baked", torch.zeros(1, n_tokens, dim))

    def update(self) -> Tensor:
        """(1, n_tokens, dim) sum of the constant and the current update."""
        return self.baked + self.scale * (self.a @ self.b)

    def build(self, selection: Selection | None) -> PromptPlan:
        """The offset, whatever the selection."""
        return PromptPlan(offset=self.update())

    @torch.no_grad()
    def bake(self) -> None:
        """Add A B to the constant and start a new update."""
        self.baked.copy_(self.update())
        self.b.zero_()
