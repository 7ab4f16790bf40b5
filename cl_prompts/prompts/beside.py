"""Approximated prompts: rows whose effect on a frozen attention is computed beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import BesideRows, PromptPlan
from cl_prompts.prompts.pools import ValuePool
from cl_prompts.prompts.selectors import Selection


class BesidePrompts(ValuePool):
    """Prompt rows beside the attention of blocks ("Approximated Prompt Tuning for Vision-Language
    Pre-trained Models").

    Rows T of a block have the keys ``K = T + (T W1') W2'``. With r the tokens that the attention
    reads and x its output behind the projection, ``A = relu(r K')`` and
    ``x' = e^s (x + max_j A_j (A T))``, the maximum being a constant for the gradient. The attention
    itself is that of the frozen ViT, at its cost: there is no further token. T begins as
    N(0, 0.02^2), W1 as N(0, 1), W2 and s as 0, so the first pass is not that of the frozen ViT, and
    W1 gets a gradient once W2 has moved.

    Deviation: without dropout on A, of which the published code for ViLT has 0.1, for METER none.

    Args:
        blocks: blocks with prompts, 0-based.
        length: rows T of a block; published: 50 and 200.
        dim: token width.
        rank: rows of W1; published: 4.

    Example:
        >>> pool = BesidePrompts(range(12), 50, 768)
        >>> sum(p.numel() for p in pool.parameters())  # 12 blocks of 50 rows, 2 * 4 and one number
        534540
        >>> sorted(pool.build(None).beside)[-1]
        11
    """

    def __init__(self, blocks: Sequence[int], length: int, dim: int, *, rank: int = 4) -> None:
        n = len(blocks)
        # W2 = 0: keys begin as the rows themselves. One random factor is enough, since two zeros
        # would leave each other without gradient.
        super().__init__(0.02 * torch.randn(1, n, length, dim))
        self.blocks = tuple(blocks)
        self.down = nn.Parameter(torch.randn(1, n, rank, dim))
        self.up = nn.Parameter(torch.zeros(1, n, dim, rank))
        self.log_scale = nn.Parameter(torch.zeros(1, n))

    def build_from(self, values: Tensor, selection: Selection | None) -> PromptPlan:
        """The same rows for all images: block -> (1, length, dim)."""
        # K = T + (T W1') W2'
        keys = values + values @ self.down.transpose(-2, -1) @ self.up.transpose(-2, -1)
        return PromptPlan(
            beside={
                block: BesideRows(keys[:, i], values[:, i], self.log_scale[:, i, None, None])
                for i, block in enumerate(self.blocks)
            }
        )
