"""VQ-Prompt's parts: discrete prompts that train end to end.

Jiao et al., "Vector Quantization Prompting for Continual Learning", NeurIPS 2024,
https://arxiv.org/abs/2410.20444.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.prefixes import check_halves, prefix_plan
from cl_prompts.prompts.selectors import Selection, unit_rows


class SoftKeys(nn.Module):
    """Softmax weights of a pool's entries by learned keys, per block.

    ``alpha = softmax(q K' / temperature)`` over the entries, with rows of K normalised and q as it
    comes. The norm of q acts on the sharpness: with queries of norm 30 and temperature 1 the
    weights are nearly one-hot from the start.

    Args:
        blocks: number of prompted blocks; each has keys of its own.
        size: entries.
        dim: width of a query.
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
        # alpha = softmax(q K' / temperature), rows of K normalised
        scores = query @ unit_rows(self.key).transpose(1, 2)  # (blocks, batch, size)
        weights = (scores / self.temperature).softmax(dim=-1)
        # The clamp is that of F.normalize.
        cosine = scores / query.norm(dim=-1)[:, None].clamp_min(1e-12)
        return Selection(
            index=torch.arange(self.size, device=query.device).expand(len(query), -1),
            distance=1 - cosine.mean(dim=0),
            scale=torch.ones(self.size, device=query.device),
            weights=weights,
        )

    @torch.no_grad()
    def observe(self, selection: Selection) -> None:
        """Add up the weights (means over blocks) in ``count``."""
        assert selection.weights is not None
        self.count += selection.weights.mean(dim=0).sum(dim=0)


class QuantisedComponents(nn.Module):
    """Prefixes of which every image gets one entry a block: the one nearest to its weighted sum.

    With alpha from :class:`SoftKeys`::

        soft = sum_j alpha_j P_j,   j* = argmin_j ||soft - P_j||^2,   hard = P_j*

    the forward pass uses hard, the backward pass goes through soft (straight-through), which
    reaches all entries. The plan's losses are the sum over blocks of ``soft_weight MSE(soft, hard)
    + hard_weight MSE(hard, soft)``, each with its second argument constant: the first pulls the
    weighted sum to the entry, the second moves the entry. (The published code has their names the
    wrong way round.)

    Each entry holds ``length`` rows per block, the first half keys and the second values, as
    CODA-Prompt counts.

    Args:
        size: entries.
        blocks: blocks that receive a prefix, 0-based.
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
        check_halves(length)
        self.blocks = tuple(blocks)
        self.heads = heads
        self.soft_weight = soft_weight
        self.hard_weight = hard_weight
        self.values = nn.Parameter(torch.rand(len(self.blocks), size, length, dim))

    def quantise(self, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (blocks, batch, size) -> weighted sums and nearest entries, both (blocks, batch,
        length, dim), and the entries' numbers (blocks, batch); ties go to the lowest."""
        # soft = sum_j alpha_j P_j, j* = argmin_j ||soft - P_j||^2, hard = P_j*
        flat = self.values.flatten(2)
        soft = weights @ flat
        with torch.no_grad():
            # ||soft - P||^2 without the norm of soft, which is the same for all entries.
            distance = flat.square().sum(dim=-1)[:, None] - 2 * soft @ flat.transpose(1, 2)
            index = distance.argmin(dim=-1)
        hard = torch.take_along_dim(flat, index[..., None], dim=1)
        shape = self.values.shape[2:]
        return soft.unflatten(-1, shape), hard.unflatten(-1, shape), index

    def build(self, selection: Selection | None) -> PromptPlan:
        """block -> keys and values, each (batch, heads, length / 2, dim / heads), and the loss."""
        if selection is None or selection.weights is None:
            raise TypeError("a QuantisedComponents pool needs weights: give the model SoftKeys")
        soft, hard, _ = self.quantise(selection.weights)
        # hard bit for bit in the forward pass, soft in the backward pass
        used = hard.detach() + (soft - soft.detach())
        rows = used.unflatten(2, (2, -1))
        # soft_weight MSE(soft, hard) + hard_weight MSE(hard, soft), second arguments constant.
        # F.mse_loss averages over blocks as well, of which the sum is wanted.
        loss = len(self.blocks) * (
            self.soft_weight * F.mse_loss(soft, hard.detach())
            + self.hard_weight * F.mse_loss(hard, soft.detach())
        )
        return replace(prefix_plan(self.blocks, rows, self.heads), losses=[lambda: loss])
