"""SMoPE's pool: one prefix whose rows are experts, chosen per block, image and head.

"One-Prompt Strikes Back: Sparse Mixture of Experts for Prompt-based Continual Learning", ICLR 2026,
https://arxiv.org/abs/2509.24483.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.attention import KeyValue
from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.selectors import Selection

#: Penalty on experts that were never used, in score ranges: they cannot win.
NEVER = 2.0


class BlockRouting:
    """The routed prefix of one block in one forward pass.

    Args:
        pool: the prefix.
        block: its index among the pool's blocks.

    Attributes:
        rows: number of chosen experts.
        scores: (batch, heads, experts) unscaled scores.
        for_choice: scores minus penalties, which decide the choice.
        index: (batch, heads, rows) chosen experts, best first.

    Example:
        >>> routing = SparsePrefix((0,), 6, 2, 16, 4).build(None).routed[0]
        >>> scores, values = routing(torch.randn(3, 4, 17, 4))
        >>> scores.shape, values.shape, routing.index.shape
        (torch.Size([3, 4, 2]), torch.Size([3, 4, 2, 4]), torch.Size([3, 4, 2]))
    """

    scores: Tensor
    for_choice: Tensor
    index: Tensor

    def __init__(self, pool: SparsePrefix, block: int) -> None:
        self.pool = pool
        self.block = block
        self.rows = pool.size if pool.dense else pool.k

    def __call__(self, queries: Tensor) -> KeyValue:
        """Queries (batch, heads, n, head dim) -> scaled scores and values of the chosen experts."""
        pool, i = self.pool, self.block
        keys, values = (p[i].to(queries.dtype) for p in (pool.keys, pool.values))
        # s_e = qbar . k_e
        self.scores = torch.einsum("bhd,hed->bhe", queries.mean(dim=2), keys)
        penalty = pool.penalty()[i].to(queries.dtype)
        self.for_choice = self.scores - penalty * _range(self.scores)
        self.index = _best(self.for_choice.detach(), self.rows)
        if pool.is_counting:
            pool.tally(i, self.scores)
        scale = keys.shape[-1] ** -0.5
        if pool.dense:
            return scale * self.scores, values.expand(len(queries), -1, -1, -1)
        index = self.index
        # Indexing is not deterministic in the backward pass.
        heads, experts = values.shape[:2]
        first = torch.arange(0, heads * experts, experts, device=index.device)
        chosen = F.embedding(first[:, None] + index, values.flatten(0, 1))
        return scale * self.scores.gather(-1, index), chosen

    def router_loss(self) -> Tensor:
        """Cross-entropy that prefers the chosen experts, the others raised by epsilon ranges."""
        chosen = torch.zeros_like(self.scores, dtype=torch.bool).scatter_(-1, self.index, True)
        ahead = self.scores + self.pool.epsilon * _range(self.scores)
        log_probability = torch.where(chosen, self.scores, ahead).log_softmax(dim=-1)
        return -log_probability.gather(-1, self.index).sum(dim=(1, 2)).mean()


def _best(scores: Tensor, k: int) -> Tensor:
    """Indices (..., k) of the largest scores (..., experts), best first; ties: the lowest."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]


def _range(scores: Tensor) -> Tensor:
    """(..., experts) -> (..., 1) largest minus smallest score, without gradient."""
    constant = scores.detach()
    return constant.amax(dim=-1, keepdim=True) - constant.amin(dim=-1, keepdim=True)


class SparsePrefix(nn.Module):
    """One shared prefix whose rows are experts; each block chooses k per image and head.

    The choice uses the block's own queries, without a query pass or slots. With qbar the mean query
    over all tokens, ``s_e = qbar . k_e``; the k largest of ``s_e - penalty_e (max s - min s)`` are
    chosen, and all tokens attend to them with the scores ``s_e / sqrt(head dim)``. In training the
    penalty is ``epsilon`` for frequent experts of earlier tasks; in evaluation unused experts are
    never chosen. Losses in training:

    * ``router_weight`` times a cross-entropy that prefers the chosen experts of each image;
    * ``prototype_weight`` times ``CE(O_f K', top k of O_f O')``, which keeps the keys of frequent
      experts near O, those after the last task (O_f: the frequent ones).

    A task: train; ``with pool.counting():`` one pass over its training images in evaluation mode;
    :meth:`end_task`. The first task starts with a *dense* phase (``pool.dense = True``): all
    experts, no router term. Without task boundaries do this at regular intervals.

    Deviation: counts of a pass are added at its end, so they do not depend on the order of images.

    Args:
        blocks: prompted blocks, 0-based; published: 0 to 5.
        size: experts per block and head.
        k: chosen experts.
        dim: token width.
        heads: attention heads of the ViT.
        epsilon: see above; published: 0.4, for ImageNet-R 0.7, 0.5 and 0.3 with 5, 10 and 20 tasks.
        router_weight: published: 1e-5 to 1e-4.
        prototype_weight: published: 1e-5 to 1e-4.

    Example:
        >>> pool = SparsePrefix(range(6), 25, 5, 768, 12)
        >>> sum(p.numel() for p in pool.parameters())
        230400
    """

    old_keys: Tensor
    counts: Tensor
    fresh_counts: Tensor
    frequent: Tensor

    def __init__(
        self,
        blocks: Sequence[int],
        size: int,
        k: int,
        dim: int,
        heads: int,
        *,
        epsilon: float = 0.4,
        router_weight: float = 1e-5,
        prototype_weight: float = 1e-5,
    ) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.size = size
        self.k = k
        self.epsilon = epsilon
        self.router_weight = router_weight
        self.prototype_weight = prototype_weight
        self.dense = False
        self.is_counting = False
        self.has_old_keys = False
        shape = (len(self.blocks), heads, size)
        self.keys = nn.Parameter(torch.rand(*shape, dim // heads))
        self.values = nn.Parameter(torch.rand(*shape, dim // heads))
        self.register_buffer("old_keys", torch.zeros_like(self.keys))
        self.register_buffer("counts", torch.zeros(shape))
        self.register_buffer("fresh_counts", torch.zeros(shape))
        self.register_buffer("frequent", torch.zeros(shape, dtype=torch.bool))

    def build(self, selection: Selection | None) -> PromptPlan:
        """Block -> :class:`BlockRouting`, whatever the selection."""
        routings = {block: BlockRouting(self, i) for i, block in enumerate(self.blocks)}
        plan = PromptPlan(routed=dict(routings))
        if self.training:
            plan.losses.append(partial(self._loss, list(routings.values())))
        return plan

    def penalty(self) -> Tensor:
        """(blocks, heads, experts) penalties on the choice, in score ranges."""
        if self.training:
            return self.epsilon * self.frequent
        # Before the first count all penalties are equal.
        return NEVER * (self.counts == 0)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Context that counts which experts images would choose without penalties."""
        self.is_counting = True
        try:
            yield
        finally:
            self.is_counting = False

    @torch.no_grad()
    def tally(self, block: int, scores: Tensor) -> None:
        """Count the k largest of scores (batch, heads, experts)."""
        chosen = torch.zeros_like(scores).scatter_(-1, _best(scores, self.k), 1.0)
        self.fresh_counts[block] += chosen.sum(dim=0)

    @torch.no_grad()
    def end_task(self) -> None:
        """Add the task's counts, copy the keys, and mark frequent experts.

        An expert stays frequent once it was chosen at least as often as its head's used experts on
        average.
        """
        self.counts += self.fresh_counts
        self.fresh_counts.zero_()
        used = (self.counts > 0).sum(dim=-1, keepdim=True).clamp(min=1)
        average = self.counts.sum(dim=-1, keepdim=True) / used
        self.frequent |= (self.counts > 0) & (self.counts >= average)
        self.old_keys.copy_(self.keys)
        self.has_old_keys = True

    def prototype_loss(self) -> Tensor:
        """Cross-entropy that keeps frequent experts near their old keys."""
        old = self.old_keys
        # CE(O_f K', top k of O_f O')
        target = old @ old.transpose(-2, -1)  # (blocks, heads, experts, experts)
        log_probability = (old @ self.keys.transpose(-2, -1)).log_softmax(dim=-1)
        each = -log_probability.gather(-1, _best(target, self.k)).sum(dim=-1)
        n = self.frequent.sum(dim=-1).clamp(min=1)
        return ((each * self.frequent).sum(dim=-1) / n).sum()

    def get_extra_state(self) -> Tensor:
        """Whether a task has ended, and whether the phase is dense."""
        return torch.tensor([self.has_old_keys, self.dense])

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.has_old_keys, self.dense = (bool(flag) for flag in state.tolist())

    def _loss(self, routings: list[BlockRouting]) -> Tensor:
        loss = self.keys.new_zeros(())
        if not self.dense:
            terms = [routing.router_loss() for routing in routings]
            loss = loss + self.router_weight * torch.stack(terms).sum()
        if self.has_old_keys:
            loss = loss + self.prototype_weight * self.prototype_loss()
        return loss
