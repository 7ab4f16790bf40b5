"""Approximated prompts, computed beside a frozen attention."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import BesideRows, PromptPlan
from cl_prompts.prompts.pools import ValuePool
from cl_prompts.prompts.selectors import Selection


class BesidePrompts(ValuePool):
    """Prompt rows beside the attention of blocks, without further tokens.

    "Approximated Prompt Tuning for Vision-Language Pre-trained Models". Rows T of a block have the
    keys ``K = T + (T W1') W2'``. With r the input tokens of the attention and x its projected
    output, ``A = relu(r K')`` and ``x' = e^s (x + max_j A_j (A T))``, the maximum without gradient.
    T starts as N(0, 0.02^2), W1 as N(0, 1), W2 and s as 0. So the first pass differs from the
    frozen ViT, and W1 gets a gradient once W2 has changed.

    Deviation: no dropout on A (published: 0.1 for ViLT, none for METER).

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
        # Only W2 is 0: two zero factors would get no gradient.
        super().__init__(0.02 * torch.randn(1, n, length, dim))
        self.blocks = tuple(blocks)
        self.down = nn.Parameter(torch.randn(1, n, rank, dim))
        self.up = nn.Parameter(torch.zeros(1, n, dim, rank))
        self.log_scale = nn.Parameter(torch.zeros(1, n))

    def build_from(self, values: Tensor, selection: Selection | None) -> PromptPlan:
        """Block -> (1, length, dim), the same rows for all images."""
        # K = T + (T W1') W2'
        keys = values + values @ self.down.transpose(-2, -1) @ self.up.transpose(-2, -1)
        return PromptPlan(
            beside={
                block: BesideRows(keys[:, i], values[:, i], self.log_scale[:, i, None, None])
                for i, block in enumerate(self.blocks)
            }
        )
