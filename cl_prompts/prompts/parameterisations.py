"""Reparameterised and low-rank prompts, around any pool with values.

Published for language models and CLIP; here for prompts of a ViT.
"""

from __future__ import annotations

from copy import deepcopy
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.pools import Pool, gather
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import TaskAware
from cl_prompts.prompts.task_selectors import slot_rows
from cl_prompts.prompts.wrapped import WrappedPool


class Reparameterised(WrappedPool):
    """Prompts that pass an encoder during training, ``P' = enc(P) + P`` (PRE).

    Nguyen et al., arXiv 2309.07760. The encoder reads the rows of one entry and block as a
    sequence; it is shared by all entries, or one per entry. :meth:`bake` replaces P by P' and skips
    the encoder afterwards: evaluation is unchanged, and later training of the encoder does not
    change these prompts. With slots per task a shared encoder requires this at a task's end:
    ``slots=k`` bakes the previous task's k entries when a task starts. MISA's warm-up (ICLR 2025,
    arXiv 2503.00677) is ``encoder=ProjectorEncoder(dim)``, baked at its end.

    Args:
        pool: a pool with ``values`` and ``build_from``.
        encoder: rows (sequences, n, dim) -> the same shape.
        residual: add P.
        per_entry: one encoder per entry (first axis of the values), copies of ``encoder``.
        slots: entries of a task, baked when the next task starts; 0: none.

    Example:
        >>> from cl_prompts.prompts import MLPEncoder, SharedTokens
        >>> pool = Reparameterised(SharedTokens((0, 1), 5, 16), MLPEncoder(16, bottleneck=4))
        >>> before = pool.build(None).context[1]
        >>> pool.bake()
        >>> bool(torch.equal(pool.build(None).context[1], before))
        True
    """

    baked: Tensor

    def __init__(
        self,
        pool: nn.Module,
        encoder: nn.Module,
        *,
        residual: bool = True,
        per_entry: bool = False,
        slots: int = 0,
    ) -> None:
        super().__init__(pool)
        self.residual = residual
        self.slots = slots
        values = self.inner.values
        self.encoders = nn.ModuleList(
            # Copies: all entries start with the same map, as with a shared encoder.
            [encoder, *(deepcopy(encoder) for _ in range(len(values) - 1 if per_entry else 0))]
        )
        self.per_entry = per_entry
        self.task_axes = {"baked": 0} if self.has_entries else {}
        self.register_buffer("baked", torch.zeros(len(values), dtype=torch.bool))

    def add_task(self) -> None:
        """Append an encoder if each entry has its own."""
        if self.has_entries and self.per_entry:
            encoder = deepcopy(self.encoders[-1])
            for part in encoder.modules():
                reset = getattr(part, "reset_parameters", None)
                if reset is not None:
                    reset()
            self.encoders.append(encoder)

    @property
    def values(self) -> Tensor:
        """P' in the shape of the pool's values."""
        plain = self.inner.values
        # (size, blocks, ..., length, dim) -> (size, sequences, length, dim)
        rows = plain.flatten(1, -3) if plain.dim() > 3 else plain[:, None]
        if self.per_entry:
            encoded = torch.stack(
                [encoder(entry) for encoder, entry in zip(self.encoders, rows, strict=True)]
            )
        else:
            encoded = self.encoders[0](rows.flatten(0, 1))
        encoded = encoded.reshape(plain.shape)
        encoded = encoded + plain if self.residual else encoded
        return torch.where(self.baked.view(-1, *[1] * (plain.dim() - 1)), plain, encoded)

    @torch.no_grad()
    def bake(self, entries: slice | None = None) -> None:
        """Replace P by P' permanently, in all entries or some."""
        entries = slice(None) if entries is None else entries
        self.inner.values[entries] = self.values[entries]
        self.baked[entries] = True

    def begin(self, task: int) -> None:
        """Bake the previous task's slot, with ``slots``."""
        before = slot_rows(task - 1, self.slots, len(self.baked)) if self.slots else None
        if before is not None:
            self.bake(before)


class Decomposed(TaskAware):
    """A low-rank update of the embedded tokens beside a pool's prompts (DePT).

    Shi and Lipani, ICLR 2024, arXiv 2309.05173. ``tokens' = tokens + alpha / sqrt(rank) * A B``
    with A (n_tokens, rank) and B (rank, dim), for all images or by entry; the pool's prompts are
    the *short* prompt. On a ViT the tokens are the sequence after the positional embedding, class
    token included, so the update costs nothing in the blocks. A starts as U(-1/sqrt(rank),
    1/sqrt(rank)), B as zero: the model starts with the short prompt alone, and A has no gradient in
    the first step.

    For the budget of a prompt of length n, the short length m and the rank obey ``m dim + rank
    (n_tokens + dim) = n dim``: for ViT-B, n = 20 and m = 5 give rank 11.

    :meth:`bake` adds A B to a constant and sets B to zero, so that the next task learns a further
    update of this rank. Evaluation is unchanged.

    Args:
        pool: any pool, for the short prompt; None: other pools of the model.
        n_tokens: length of the embedded sequence, ``FrozenViT.n_tokens``; fixes the image size.
        dim: token width.
        rank: of the update.
        size: entries; an image's update is the sum over its selected ones. 1: one for all images.
        alpha: see above.

    Example:
        >>> from cl_prompts.prompts import SharedTokens
        >>> pool = Decomposed(SharedTokens((0,), 5, 16), n_tokens=17, dim=16, rank=3)
        >>> pool.build(None).offset.shape
        torch.Size([1, 17, 16])
    """

    baked: Tensor
    shifts_tokens: ClassVar[bool] = True
    """It changes the embedded tokens, which the query pass reads unchanged."""

    def __init__(
        self,
        pool: nn.Module | None = None,
        *,
        n_tokens: int,
        dim: int,
        rank: int,
        size: int = 1,
        alpha: float = 8.0,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.scale = alpha / rank**0.5
        bound = rank**-0.5
        self.task_axes = {"a": 0, "b": 0, "baked": 0} if size > 1 else {}
        self.a = nn.Parameter(torch.empty(size, n_tokens, rank).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(size, rank, dim))
        self.register_buffer("baked", torch.zeros(size, n_tokens, dim))

    def fresh(self, name: str, rows: Tensor) -> None:
        """Initialise further entries."""
        if name == "a":
            rows.uniform_(-(rows.shape[-1] ** -0.5), rows.shape[-1] ** -0.5)

    def updates(self) -> Tensor:
        """(size, n_tokens, dim) sum of the constant and the current update."""
        return self.baked + self.scale * (self.a @ self.b)

    def build(self, selection: Selection | None) -> PromptPlan:
        """The pool's plan and the offset (batch or 1, n_tokens, dim)."""
        plan = PromptPlan() if self.pool is None else cast(Pool, self.pool).build(selection)
        updates = self.updates()
        offset = updates if len(updates) == 1 else gather(updates, selection).sum(dim=1)
        plan.add(PromptPlan(offset=offset))
        return plan

    @torch.no_grad()
    def bake(self) -> None:
        """Add A B to the constant and start a new update."""
        self.baked.copy_(self.updates())
        self.b.zero_()
