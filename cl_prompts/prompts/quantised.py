"""VQ-Prompt's parts: discrete prompts that train end to end.

Jiao et al., "Vector Quantization Prompting for Continual Learning", NeurIPS 2024,
https://arxiv.org/abs/2410.20444.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.prefixes import prefix_plan
from cl_prompts.prompts.selectors import Selection, unit_rows, weights_of


class SoftKeys(nn.Module):
    """Softmax weights of a pool's entries by learned keys, per block.

    ``alpha = softmax(q K' / temperature)`` with normalised rows of K. q is not normalised: with
    norm 30 and temperature 1 the weights are nearly one-hot from the start.

    Args:
        blocks: number of prompted blocks; each has its own keys.
        size: entries.
        dim: query width.
        temperature: see above.

    Example:
        >>> selection = SoftKeys(2, 5, 16)(torch.randn(3, 16))
        >>> selection.weights.shape
        torch.Size([2, 3, 5])
    """

    count: Tensor

    def __init__(self, blocks: int, size: int, dim: int, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.temperature = temperature
        self.key = nn.Parameter(torch.rand(blocks, size, dim))
        self.register_buffer("count", torch.zeros(size))

    def forward(self, query: Tensor) -> Selection:
        """Query (batch, dim), without gradient -> Selection of all entries, with weights."""
        scores = query @ unit_rows(self.key).transpose(1, 2)  # (blocks, batch, size)
        weights = (scores / self.temperature).softmax(dim=-1)
        cosine = scores / query.norm(dim=-1)[:, None].clamp_min(1e-12)  # as F.normalize
        return Selection(
            index=torch.arange(self.size, device=query.device).expand(query.shape[0], -1),
            distance=1 - cosine.mean(dim=0),
            scale=torch.ones(self.size, device=query.device),
            weights=weights,
        )

    @torch.no_grad()
    def observe(self, selection: Selection) -> None:
        """Add the weights (means over blocks) to ``count``."""
        self.count += weights_of(selection).mean(dim=0).sum(dim=0)


class QuantisedComponents(nn.Module):
    """Prefixes of one entry per block: the one nearest to the weighted sum.

    With alpha from :class:`SoftKeys`::

        soft = sum_j alpha_j P_j,   j* = argmin_j ||soft - P_j||^2,   hard = P_j*

    the forward pass uses hard, the backward pass soft (straight-through), which reaches all
    entries. The plan's losses are the sum over blocks of ``soft_weight MSE(soft, hard) +
    hard_weight MSE(hard, soft)`` with constant second arguments: the first moves the weighted sum
    to the entry, the second the entry. (The published code swaps their names.) Each entry has
    ``length`` rows per block, half keys and half values, as CODA-Prompt counts.

    Args:
        size: entries.
        blocks: prompted blocks, 0-based.
        length: rows of an entry, even.
        dim: token width.
        heads: attention heads of the ViT.
        soft_weight: see above.
        hard_weight: see above.

    Example:
        >>> pool, keys = QuantisedComponents(5, (0, 1), 8, 16, 2), SoftKeys(2, 5, 16)
        >>> plan = pool.build(keys(torch.randn(3, 16)))
        >>> plan.prefix[1][0].shape, plan.loss().shape
        (torch.Size([3, 2, 4, 8]), torch.Size([]))
    """

    def __init__(
        self,
        size: int,
        blocks: Sequence[int],
        length: int,
        dim: int,
        heads: int,
        *,
        soft_weight: float = 0.4,
        hard_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.heads = heads
        self.soft_weight = soft_weight
        self.hard_weight = hard_weight
        self.values = nn.Parameter(torch.rand(len(self.blocks), size, length, dim))

    def build(self, selection: Selection | None) -> PromptPlan:
        """Block -> keys and values, each (batch, heads, length / 2, dim / heads), and the loss."""
        # Weighted sums and, of ties the first, nearest entries: (blocks, batch, length, dim).
        flat = self.values.flatten(2)
        soft = weights_of(selection) @ flat
        with torch.no_grad():
            # ||soft - P||^2 without the norm of soft, the same for all entries
            distance = flat.square().sum(dim=-1)[:, None] - 2 * soft @ flat.transpose(1, 2)
            nearest = distance.argmin(dim=-1, keepdim=True)
        hard = torch.take_along_dim(flat, nearest, dim=1)
        # exactly hard in the forward pass, soft in the backward pass
        used = hard.detach() + (soft - soft.detach())
        rows = used.unflatten(-1, (2, -1, self.values.shape[-1]))
        # F.mse_loss averages over blocks, whose sum is needed.
        loss = len(self.blocks) * (
            self.soft_weight * F.mse_loss(soft, hard.detach())
            + self.hard_weight * F.mse_loss(hard, soft.detach())
        )
        return replace(prefix_plan(self.blocks, rows, self.heads), losses=[lambda: loss])
