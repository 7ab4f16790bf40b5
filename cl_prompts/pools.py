"""What the prompts are: pools turn a selection into a :class:`~cl_prompts.injection.PromptPlan`.

A pool owns its values and says into which blocks they go. New parameterisations (prefixes, weighted components, low-rank
or mixture-routed prompts) are new classes with the same ``build``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from cl_prompts.injection import PromptPlan
from cl_prompts.selectors import Selection


class Pool(Protocol):
    """Anything that builds prompts from a selection."""

    def build(self, selection: Selection | None) -> PromptPlan:
        """The prompts of this batch."""
        ...


class SharedTokens(nn.Module):
    """One set of context tokens a block, the same for every image (MVP's and DualPrompt's G-prompts).

    Args:
        blocks: blocks that receive prompts, 0-based.
        length: tokens per block.
        dim: token width.
    """

    def __init__(self, blocks: Sequence[int], length: int, dim: int) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.values = nn.Parameter(torch.randn(len(self.blocks), length, dim))

    def build(self, selection: Selection | None) -> PromptPlan:
        """Ignores the selection."""
        return PromptPlan(context={block: self.values[i][None] for i, block in enumerate(self.blocks)})


class TokenPool(nn.Module):
    """A pool of context tokens: each entry holds ``length`` tokens for each of ``blocks`` (MVP's E-prompts).

    With more than one selected entry an image's tokens are laid one behind the other.

    Args:
        size: entries of the pool.
        blocks: blocks that receive prompts, 0-based.
        length: tokens per entry and block.
        dim: token width.
    """

    def __init__(self, size: int, blocks: Sequence[int], length: int, dim: int) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.values = nn.Parameter(torch.randn(size, len(self.blocks), length, dim))

    def build(self, selection: Selection | None) -> PromptPlan:
        """Tokens of the selected entries: block -> (batch, k * length, dim)."""
        if selection is None:
            raise TypeError("a TokenPool needs a selection: give the model a selector")
        chosen: Tensor = self.values[selection.index]  # (batch, k, blocks, length, dim)
        return PromptPlan(context={block: chosen[:, :, i].flatten(1, 2) for i, block in enumerate(self.blocks)})
