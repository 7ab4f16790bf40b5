"""Which prompts an image gets: selectors map a query to a :class:`Selection`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbone import FrozenViT


@dataclass(frozen=True)
class ClassTokenQuery:
    """The query: the class token of the unprompted frozen ViT.

    Args:
        skip_last: leave the last block out (MVP) or run all blocks.
        norm: apply the final LayerNorm (L2P, DualPrompt, CODA-Prompt) or not (MVP).
    """

    skip_last: bool = False
    norm: bool = True

    @torch.no_grad()
    def __call__(self, backbone: FrozenViT, tokens: Tensor, entry: Tensor | None = None) -> Tensor:
        """Embedded tokens (batch, n, dim) -> query (batch, dim) in fp32, without gradient."""
        stop = backbone.depth - 1 if self.skip_last else backbone.depth
        out = backbone.blocks(tokens, stop=stop, class_only=True, entry=entry)
        return (backbone.norm(out) if self.norm else out)[:, 0].float()


@dataclass(frozen=True)
class Selection:
    """What a selector chose.

    Attributes:
        index: (batch, k) chosen rows of the pool.
        distance: (batch, pool) cosine distance 1 - cos(query, key), carrying gradient to the keys.
        scale: (pool,) factor that multiplied the distances before choosing; constant.
    """

    index: Tensor
    distance: Tensor
    scale: Tensor


class NearestKeys(nn.Module):
    """Top-k of a pool by cosine distance between query and learned keys.

    With ``count_scaled`` the distance to a key is multiplied by 1 + the number of times it was selected in training, so
    rarely used prompts get their turn (MVP, section 2.2 of its published code; applied at test time as well). Counts grow
    without bound and are saved with the model.

    Args:
        size: prompts in the pool.
        dim: width of a query.
        k: prompts per image. Ties go to the lowest row.
        count_scaled: see above.
    """

    count: Tensor

    def __init__(self, size: int, dim: int, *, k: int = 1, count_scaled: bool = False) -> None:
        super().__init__()
        self.size, self.k, self.count_scaled = size, k, count_scaled
        self.key = nn.Parameter(torch.randn(size, dim))
        self.register_buffer("count", torch.zeros(size))

    def forward(self, query: Tensor) -> Selection:
        """Query (batch, dim), without gradient -> Selection."""
        distance = 1 - F.normalize(query, dim=-1) @ F.normalize(self.key, dim=-1).T
        # A copy: observe() changes the counts before the backward pass reads the scale.
        scale = self.count + 1 if self.count_scaled else torch.ones_like(self.count)
        index = torch.sort(distance.detach() * scale, dim=1, stable=True).indices[:, : self.k]
        return Selection(index, distance, scale)

    @torch.no_grad()
    def observe(self, selection: Selection) -> None:
        """Count a training batch's choices."""
        chosen = selection.index.flatten()
        self.count.index_add_(0, chosen, torch.ones_like(chosen, dtype=self.count.dtype))  # bincount would synchronise
