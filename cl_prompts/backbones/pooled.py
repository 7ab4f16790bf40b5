"""Context tokens that images choose from a pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from timm.models.vision_transformer import Block
from torch import Tensor

from cl_prompts.backbones.attention import by_head, project_parts


@dataclass(frozen=True)
class PooledTokens:
    """Context tokens of one block, chosen by each image from the entries of a pool.

    Attributes:
        entries: (entries, n, dim) tokens of every entry.
        index: (batch, k) the entries that each image chose; their tokens stand side by side.

    Example:
        >>> pooled = PooledTokens(torch.randn(10, 20, 16), torch.tensor([[3], [3], [7]]))
        >>> tuple(pooled.tokens().shape), pooled.length
        ((3, 20, 16), 20)
    """

    entries: Tensor
    index: Tensor

    @property
    def length(self) -> int:
        """Tokens that an image gets."""
        return int(self.index.shape[1] * self.entries.shape[1])

    @property
    def repeats(self) -> bool:
        """Whether the batch chooses more often than the pool has entries, so that it is cheaper to
        project every entry once; never in compiled code."""
        # There the comparison would bind the graph to sizes of batches, and last ones would get
        # a graph of their own.
        return not torch.compiler.is_compiling() and self.index.numel() > len(self.entries)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> PooledTokens:
        """The same choices with changed entries."""
        return replace(self, entries=change(self.entries))

    def tokens(self) -> Tensor:
        """The tokens of each image, (batch, k * n, dim)."""
        return self.entries[self.index].flatten(1, 2)

    def keys_and_values(self, block: Block, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values of the tokens of each image in a block, each (batch, heads, k * n, head
        dim) in the given precision, from one projection of the entries."""
        attn = block.attn
        normed = block.norm1(self.entries.to(dtype))
        keys, values = by_head(attn, project_parts(attn, normed, slice(1, 3)), 2)
        return self._chosen(attn.k_norm(keys)), self._chosen(values)

    def _chosen(self, by_entry: Tensor) -> Tensor:
        """(entries, heads, n, head dim) -> (batch, heads, k * n, head dim)."""
        # In fp32, in which gradients of an entry that many images chose have to be summed.
        chosen = by_entry.float()[self.index].to(by_entry.dtype)
        return chosen.transpose(1, 2).flatten(2, 3)
