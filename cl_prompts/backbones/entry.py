"""The part of a pass that passes with other prompts can share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cl_prompts.backbones.injection import PromptPlan


@dataclass(frozen=True)
class Entry:
    """Where passes over the same images part: the input of a block, and its projection there.

    Attributes:
        block: the first one that the passes do not share, 0-based.
        tokens: (batch, n, dim) its input.
        projected: (batch, n, 3 dim) queries, keys and values of these tokens, see
            :func:`~cl_prompts.backbones.attention.project`.

    Example:
        >>> import torch
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> tokens = vit.embed(torch.rand(2, 3, 32, 32))
        >>> entry = vit.enter(tokens, block=3)
        >>> same = vit.blocks(tokens, entry=entry)  # blocks 0 to 2 are not run again
        >>> bool(torch.allclose(same, vit.blocks(tokens), atol=1e-5))
        True
    """

    block: int
    tokens: Tensor
    projected: Tensor

    def check(self, plan: PromptPlan, stop: int) -> None:
        """Raise ``TypeError`` if a pass of ``stop`` blocks with this plan parts earlier."""
        first = min(plan.first_block(), stop)
        if first < self.block:
            raise TypeError(
                f"the entry is for passes that part at block {self.block}, and this one does at"
                f" block {first}"
            )
