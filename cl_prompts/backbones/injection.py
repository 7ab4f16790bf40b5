"""How prompts enter frozen transformer blocks.

All injections are exact and leave the frozen weights alone. Three add tokens, or keys and values:

* **prepended tokens** (L2P): prompts join the token sequence before block 0 and travel through
  every block;
* **context tokens** (MVP): prompts join one block's input and are removed after it. Because their
  outputs are dropped, they need keys and values only: no query, no output projection, no MLP.
  Where images choose them from a **pool**, these may be computed once an entry;
* **prefixes** (DualPrompt, CODA-Prompt): key/value prompts, which join one block's keys and values
  after its qkv projection.

Six more change what is already there: an **offset** to the embedded sequence (DePT), **adapters**
parallel to a block's MLP (EASE), a **gate** on the scores of prefixes (NoRGa), **routed** prefixes
that are chosen by a block's own queries (SMoPE), vectors **added** to the class token's key and
value (additive prompts), and rows that act **beside** a block's attention (approximated prompts).
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
    project_parts,
)

#: Fields of a plan that hold prompts by block, and arguments of
#: :func:`~cl_prompts.backbones.attention.run_block`.
BY_BLOCK = ("context", "prefix", "adapter", "gate", "routed", "additive", "beside")


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

    def tokens(self) -> Tensor:
        """The tokens of each image, (batch, k * n, dim)."""
        return self._chosen(self.entries)

    def keys_and_values(self, block: Block, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values of the tokens of each image in a block, each (batch, heads, k * n, head
        dim) in the given precision, from one projection of the entries."""
        attn = block.attn
        rows = project_parts(attn, block.norm1(self.entries.to(dtype)), slice(1, 3))
        # In fp32, in which gradients of an entry that many images chose have to be summed.
        keys, values = by_head(attn, self._chosen(rows.float()).to(dtype), 2)
        return attn.k_norm(keys), values

    def _chosen(self, rows: Tensor) -> Tensor:
        """Rows of entries (entries, n, width) -> those of each image, (batch, k * n, width)."""
        chosen = F.embedding(self.index, rows.flatten(1))
        return chosen.reshape(chosen.shape[0], -1, rows.shape[2])


@dataclass(frozen=True)
class BesideRows:
    """Prompt rows beside the attention of one block, which they leave alone ("Approximated Prompt
    Tuning for Vision-Language Pre-trained Models").

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
        """Tokens that the attention reads and its output, each (batch, n, dim) -> the output with
        the rows' share."""
        # A = relu(r K^T), without scaling, softmax and heads
        scores = torch.relu(normed @ self.keys.transpose(-2, -1))
        # w = max_j A_j, a constant
        weight = scores.detach().amax(dim=-1, keepdim=True)
        # x' = e^s (x + w (A T))
        return self.log_scale.exp() * (output + weight * (scores @ self.rows))


@dataclass
class PromptPlan:
    """The prompts of one forward pass, by block. A leading axis of 1 means "the same for the whole
    batch".

    Attributes:
        prepended: (batch or 1, n, dim) tokens appended to the sequence before block 0, without
            positional embedding.
        context: block -> (batch or 1, n, dim) tokens that this block alone attends to.
        pooled: block -> context tokens that each image chooses from a pool.
        prefix: block -> keys and values, each (batch or 1, heads, n, head dim).
        offset: (batch or 1, sequence, dim) added to the embedded sequence, class token included,
            before prepended tokens join it.
        adapter: block -> the module parallel to its MLP.
        gate: block -> function of the scaled scores of its prefixes, (batch, heads, queries, n),
            before the softmax.
        routed: block -> a prefix that depends on the block's queries.
        additive: block -> what is added to the class token's key and value, each (batch or 1,
            heads, head dim).
        beside: block -> prompt rows beside its attention.
        losses: functions that compute losses of the prompts themselves, to be called after the
            pass; they belong to this one pass.

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

    def add(self, other: PromptPlan) -> None:
        """Append ``other``'s prompts to this plan's, block by block; offsets and additive
        vectors are summed.

        Raises:
            ValueError: both plans have an adapter, a gate, a routed prefix or rows beside the
                attention for the same block.
        """
        if other.prepended is not None:
            self.prepended = (
                other.prepended
                if self.prepended is None
                else join(self.prepended, other.prepended, 1)
            )
        # A block has one pool of projected entries: the tokens of a second one are context.
        for block in other.pooled.keys() & self.pooled.keys():
            self.add(PromptPlan(context={block: other.pooled[block].tokens()}))
        self.pooled = {**other.pooled, **self.pooled}
        for block, tokens in other.context.items():
            self.context[block] = (
                join(self.context[block], tokens, 1) if block in self.context else tokens
            )
        for block, (keys, values) in other.prefix.items():
            if block in self.prefix:
                mine = self.prefix[block]
                keys, values = join(mine[0], keys, 2), join(mine[1], values, 2)
            self.prefix[block] = (keys, values)
        if other.offset is not None:
            self.offset = other.offset if self.offset is None else self.offset + other.offset
        for block, (keys, values) in other.additive.items():
            if block in self.additive:
                mine = self.additive[block]
                keys, values = mine[0] + keys, mine[1] + values
            self.additive[block] = (keys, values)
        for name in ("adapter", "gate", "routed", "beside"):
            mine_by_block = getattr(self, name)
            theirs = getattr(other, name)
            twice = sorted(set(mine_by_block) & set(theirs))
            if twice:
                raise ValueError(
                    f"the {name} of block {twice[0]} is given twice: a block can have one"
                )
            mine_by_block.update(theirs)
        self.losses.extend(other.losses)

    def projected(self, blocks: Sequence[Block], dtype: torch.dtype) -> tuple[PromptPlan, int]:
        """The plan with nothing pooled: keys and values in blocks given here in which one
        projection of every entry is cheaper, else tokens.

        Returns:
            the plan, and how many tokens were projected in this precision.
        """
        # A copy: the caller's plan may be used for another pass.
        plan = replace(self, pooled={}, context=dict(self.context), prefix=dict(self.prefix))
        rows = 0
        # In compiled code the comparison of sizes would bind the graph to sizes of batches, and
        # last ones would get a graph of their own.
        compiling = torch.compiler.is_compiling()
        for i, pooled in self.pooled.items():
            # Projecting every entry once is cheaper where the batch chooses more often than there
            # are entries.
            repeats = not compiling and pooled.index.numel() > len(pooled.entries)
            # A gate is for the scores of prefixes alone.
            if i < len(blocks) and repeats and i not in plan.gate:
                plan.add(PromptPlan(prefix={i: pooled.keys_and_values(blocks[i], dtype)}))
                rows += pooled.entries.shape[0] * pooled.entries.shape[1]
            else:
                plan.add(PromptPlan(context={i: pooled.tokens()}))
        return plan, rows

    def loss(self) -> Tensor | None:
        """Sum of the prompts' own terms of loss, once the pass is done; None without any."""
        terms = [term() for term in self.losses]
        return torch.stack(terms).sum() if terms else None

    def mapped(self, change: Callable[[Tensor], Tensor]) -> PromptPlan:
        """The plan with each of its tensors changed, always in the same order; functions stay as
        they are."""
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
        """The first block that these prompts change, or a number beyond all without any."""
        # Both change the input of block 0.
        if self.prepended is not None or self.offset is not None:
            return 0
        prompted: set[int] = set(self.pooled).union(*(getattr(self, name) for name in BY_BLOCK))
        return min(prompted, default=sys.maxsize)

    def extra_keys(self, block: int) -> tuple[int, int]:
        """Context tokens and prefix rows that the block attends to in addition to the sequence."""
        context = self.context[block].shape[1] if block in self.context else 0
        context += self.pooled[block].length if block in self.pooled else 0
        prefix = self.prefix[block][0].shape[2] if block in self.prefix else 0
        return context, prefix + (self.routed[block].rows if block in self.routed else 0)


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
