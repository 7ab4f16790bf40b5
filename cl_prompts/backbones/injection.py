"""Injection of prompts into frozen transformer blocks.

All injections are exact and do not change the frozen weights. Three add tokens, or keys and values:

* **prepended tokens** (L2P): prompts join the token sequence before block 0 and pass through every
  block;
* **context tokens** (MVP): prompts join one block's input and are removed after it. Their outputs
  are dropped, so they only need keys and values: no query, output projection or MLP. If images
  select them from a **pool**, keys and values may be computed once per entry;
* **prefixes** (DualPrompt, CODA-Prompt): key/value prompts that join one block's keys and values
  after its qkv projection.

Six others modify the computation: an **offset** of the embedded sequence (DePT), **adapters**
parallel to a block's MLP (EASE), a **gate** on the scores of prefixes (NoRGa), **routed** prefixes
selected by a block's own queries (SMoPE), vectors **added** to the class token's key and value
(additive prompts), and rows **beside** a block's attention (approximated prompts).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor

from cl_prompts.backbones.attention import (
    BlockAdapter,
    KeyValue,
    RoutedPrefix,
    by_head,
    join,
    project,
)

#: Fields of a plan that hold prompts by block, and arguments of
#: :func:`~cl_prompts.backbones.attention.run_block`.
BY_BLOCK = ("context", "prefix", "adapter", "gate", "routed", "additive", "beside")


@dataclass(frozen=True)
class PooledTokens:
    """Context tokens of one block that each image selects from a pool.

    Attributes:
        entries: (entries, n, dim) tokens of every entry.
        index: (batch, k) entries selected by each image; their tokens are concatenated.

    Example:
        >>> pooled = PooledTokens(torch.randn(10, 20, 16), torch.tensor([[3], [3], [7]]))
        >>> tuple(pooled.tokens().shape), pooled.length
        ((3, 20, 16), 20)
    """

    entries: Tensor
    index: Tensor

    @property
    def length(self) -> int:
        """Number of tokens per image."""
        return int(self.index.shape[1] * self.entries.shape[1])

    def tokens(self) -> Tensor:
        """Return the tokens of each image, (batch, k * n, dim)."""
        return self._chosen(self.entries)

    def keys_and_values(self, block: Block, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return keys and values of each image in a block, from one projection of the entries.

        Each is (batch, heads, k * n, head dim) in the given precision.
        """
        attn = block.attn
        rows = project(attn, block.norm1(self.entries.to(dtype)), slice(1, 3))
        # In fp32, to sum the gradients of an entry over many images.
        keys, values = by_head(attn, self._chosen(rows.float()).to(dtype), 2)
        return attn.k_norm(keys), values

    def _chosen(self, rows: Tensor) -> Tensor:
        """Map rows of entries (entries, n, width) to rows of images (batch, k * n, width)."""
        chosen = F.embedding(self.index, rows.flatten(1))
        return chosen.reshape(chosen.shape[0], -1, rows.shape[2])


@dataclass(frozen=True, eq=False)  # torch.compile of PyTorch 2.10 hashes what it calls
class BesideRows:
    """Prompt rows beside the unchanged attention of one block.

    Source: "Approximated Prompt Tuning for Vision-Language Pre-trained Models".

    Attributes:
        keys: (batch or 1, n, dim) keys of the rows.
        rows: (batch or 1, n, dim) the rows.
        log_scale: (batch or 1, 1, 1) logarithm of the factor of the whole output.

    Example:
        >>> beside = BesideRows(torch.ones(1, 5, 16), torch.zeros(1, 5, 16), torch.zeros(1, 1, 1))
        >>> output = torch.randn(2, 17, 16)
        >>> torch.equal(beside(torch.randn(2, 17, 16), output), output)  # rows of zeros do nothing
        True
    """

    keys: Tensor
    rows: Tensor
    log_scale: Tensor

    @property
    def macs_per_token(self) -> int:
        """Multiply-accumulates for one token."""
        return 2 * self.rows.shape[1] * self.rows.shape[2]

    def __call__(self, normed: Tensor, output: Tensor) -> Tensor:
        """Add the rows' share to the attention's output; both arguments are (batch, n, dim)."""
        # A = relu(r K^T), without scaling, softmax and heads
        scores = torch.relu(normed @ self.keys.transpose(-2, -1))
        # w = max_j A_j, a constant
        weight = scores.detach().amax(dim=-1, keepdim=True)
        # x' = e^s (x + w (A T))
        return self.log_scale.exp() * (output + weight * (scores @ self.rows))


@dataclass
class PromptPlan:
    """The prompts of one forward pass, by block; a leading axis of 1 stands for the whole batch.

    Attributes:
        prepended: (batch or 1, n, dim) tokens appended to the sequence before block 0, without
            positional embedding.
        context: block -> (batch or 1, n, dim) tokens that only this block attends to.
        pooled: block -> context tokens that each image selects from a pool.
        prefix: block -> keys and values, each (batch or 1, heads, n, head dim).
        offset: (batch or 1, sequence, dim) added to the embedded sequence, including the class
            token, before prepended tokens join it.
        adapter: block -> the module parallel to its MLP.
        gate: block -> function of the scaled scores of its prefixes, (batch, heads, queries, n),
            before the softmax.
        routed: block -> a prefix that depends on the block's queries.
        additive: block -> addends of the class token's key and value, each (batch or 1, heads, head
            dim).
        beside: block -> prompt rows beside its attention.
        losses: functions that compute losses of the prompts after this forward pass.
        kept: (batch, n) places of the image's tokens that this forward pass computes, increasing;
            None for all of them.

    Example:
        >>> plan = PromptPlan(context={0: torch.zeros(1, 5, 16)})
        >>> plan.add(PromptPlan(context={0: torch.zeros(2, 3, 16)}))  # 5 shared and 3 own tokens
        >>> tuple(plan.context[0].shape)
        (2, 8, 16)
    """

    prepended: Tensor | None = None
    context: dict[int, Tensor] = field(default_factory=dict)
    pooled: dict[int, PooledTokens] = field(default_factory=dict)
    prefix: dict[int, KeyValue] = field(default_factory=dict)
    offset: Tensor | None = None
    adapter: dict[int, BlockAdapter] = field(default_factory=dict)
    gate: dict[int, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    routed: dict[int, RoutedPrefix] = field(default_factory=dict)
    additive: dict[int, KeyValue] = field(default_factory=dict)
    beside: dict[int, BesideRows] = field(default_factory=dict)
    losses: list[Callable[[], Tensor]] = field(default_factory=list)
    kept: Tensor | None = None

    def add(self, other: PromptPlan) -> None:
        """Append another plan's prompts by block; offsets and additive vectors are summed.

        Of adapters, gates, routed prefixes and rows beside the attention a block can have one.
        """
        # A block has one pool; the tokens of a second one become context.
        for block in other.pooled.keys() & self.pooled.keys():
            self.add(PromptPlan(context={block: other.pooled[block].tokens()}))
        self.pooled = {**other.pooled, **self.pooled}
        for name, merged in _MERGED.items():
            mine = getattr(self, name)
            for block, theirs in getattr(other, name).items():
                mine[block] = merged(mine[block], theirs) if block in mine else theirs
        if self.prepended is None or other.prepended is None:
            self.prepended = other.prepended if self.prepended is None else self.prepended
        else:
            self.prepended = join(self.prepended, other.prepended, 1)
        if other.offset is not None:
            self.offset = other.offset if self.offset is None else self.offset + other.offset
        self.losses.extend(other.losses)

    def projected(self, blocks: Sequence[Block], dtype: torch.dtype) -> tuple[PromptPlan, int]:
        """Replace pooled tokens by keys and values where this is cheaper, else by context tokens.

        Returns:
            the new plan, and the number of tokens projected in this precision.
        """
        # A copy, since the caller may reuse the plan.
        plan = replace(self, pooled={}, context=dict(self.context), prefix=dict(self.prefix))
        rows = 0
        # In compiled code, comparing sizes would need a new graph for another batch size.
        compiling = torch.compiler.is_compiling()
        for i, pooled in self.pooled.items():
            # Projecting each entry once is cheaper if the batch makes more selections than there
            # are entries.
            repeats = not compiling and pooled.index.numel() > len(pooled.entries)
            # A gate must only apply to prefixes.
            if i < len(blocks) and repeats and i not in plan.gate:
                plan.add(PromptPlan(prefix={i: pooled.keys_and_values(blocks[i], dtype)}))
                rows += pooled.entries.shape[0] * pooled.entries.shape[1]
            else:
                plan.add(PromptPlan(context={i: pooled.tokens()}))
        return plan, rows

    def loss(self) -> Tensor | None:
        """Return the sum of the prompts' losses after the forward pass, or None."""
        terms = [term() for term in self.losses]
        return torch.stack(terms).sum() if terms else None

    def mapped(self, change: Callable[[Tensor], Tensor]) -> PromptPlan:
        """Apply a function to all tensors of the plan, always in the same order."""
        return replace(
            self,
            prepended=None if self.prepended is None else change(self.prepended),
            offset=None if self.offset is None else change(self.offset),
            context={block: change(tokens) for block, tokens in self.context.items()},
            pooled={
                block: replace(pooled, entries=change(pooled.entries))
                for block, pooled in self.pooled.items()
            },
            prefix={block: (change(k), change(v)) for block, (k, v) in self.prefix.items()},
            additive={block: (change(k), change(v)) for block, (k, v) in self.additive.items()},
            beside={
                block: BesideRows(change(it.keys), change(it.rows), change(it.log_scale))
                for block, it in self.beside.items()
            },
        )

    def first_block(self) -> int:
        """Return the first block with prompts, or a huge number without prompts."""
        if any(it is not None for it in (self.prepended, self.offset, self.kept)):
            return 0
        prompted: set[int] = set(self.pooled).union(*(getattr(self, name) for name in BY_BLOCK))
        return min(prompted, default=sys.maxsize)

    def extra_keys(self, block: int) -> tuple[int, int]:
        """Return the numbers of context tokens and prefix rows of a block."""
        context = self.context[block].shape[1] if block in self.context else 0
        context += self.pooled[block].length if block in self.pooled else 0
        prefix = self.prefix[block][0].shape[2] if block in self.prefix else 0
        return context, prefix + (self.routed[block].rows if block in self.routed else 0)


def _joined_pairs(mine: KeyValue, theirs: KeyValue) -> KeyValue:
    return join(mine[0], theirs[0], 2), join(mine[1], theirs[1], 2)


#: How the prompts of two plans for one block combine; of some forms a block has one.
_MERGED: dict[str, Callable[..., object]] = {
    "context": lambda mine, theirs: join(mine, theirs, 1),
    "prefix": _joined_pairs,
    "additive": lambda mine, theirs: (mine[0] + theirs[0], mine[1] + theirs[1]),
    **dict.fromkeys(("adapter", "gate", "routed", "beside"), lambda _, theirs: theirs),
}


@dataclass(frozen=True)
class Entry:
    """Input and projection of a block, shared by forward passes over the same images.

    Attributes:
        block: index of the first block that is not shared.
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


def gather(rows: Tensor, kept: Tensor) -> Tensor:
    """Gather the rows ``kept`` (batch, n) of (batch, all, width)."""
    return rows.gather(1, kept[:, :, None].expand(-1, -1, rows.shape[2]))
