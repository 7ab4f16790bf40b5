"""How prompts enter frozen transformer blocks.

All injections are exact and leave the frozen weights alone. Three add tokens, or keys and values:

* **prepended tokens** (L2P): prompts join the token sequence before block 0 and travel through
  every block;
* **context tokens** (MVP): prompts join one block's input and are removed after it. Because their
  outputs are dropped, they need keys and values only: no query, no output projection, no MLP.
  Where images choose them from a **pool**, these may be computed once an entry;
* **prefixes** (DualPrompt, CODA-Prompt): key/value prompts, which join one block's keys and values
  after its qkv projection.

Five more change what is already there: an **offset** to the embedded sequence (DePT), **adapters**
parallel to a block's MLP (EASE), a **gate** on the scores of prefixes (NoRGa), **routed** prefixes
that are chosen by a block's own queries (SMoPE), and vectors **added** to the class token's key and
value (additive prompts).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from cl_prompts.backbones.attention import (
    attend,
    attention_output,
    by_head,
    multiplies_out,
    output_gate,
    project_parts,
)
from cl_prompts.backbones.pooled import PooledTokens

KeyValue = tuple[Tensor, Tensor]

#: Fields of a plan that hold prompts by block, and arguments of :func:`run_block`.
BY_BLOCK = ("context", "prefix", "adapter", "gate", "routed", "additive")


class BlockAdapter(Protocol):
    """A module parallel to a block's MLP.

    Example:
        >>> from cl_prompts.prompts.task_adapters import Adapter
        >>> adapter: BlockAdapter = Adapter(16, bottleneck=4)
        >>> adapter.macs_per_token
        128
    """

    macs_per_token: int
    """Multiply-accumulates for one token."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens after the attention (batch, n, dim) -> what is added to the block's output, in
        the tokens' type."""
        ...


class RoutedPrefix(Protocol):
    """A prefix whose rows a block chooses by its own queries.

    Where it uses the parameters of a module, ``pool`` names that.

    Example:
        >>> class First:
        ...     rows = 1
        ...     def __call__(self, queries):
        ...         return queries.mean(dim=(2, 3))[..., None], queries[:, :, :1]
        >>> plan = PromptPlan(routed={2: First()})
        >>> plan.extra_keys(2)
        (0, 1)
    """

    rows: int
    """Rows that are chosen."""

    def __call__(self, queries: Tensor) -> KeyValue:
        """Queries of the whole sequence (batch, heads, n, head dim) -> scores of the chosen rows,
        (batch, heads, rows), the same for every query and already scaled, and their
        values (batch, heads, rows, head dim)."""
        ...


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
    losses: list[Callable[[], Tensor]] = field(default_factory=list)

    def add(self, other: PromptPlan) -> None:
        """Append ``other``'s prompts to this plan's, block by block; offsets and additive
        vectors are summed.

        Raises:
            ValueError: both plans have an adapter, a gate or a routed prefix for the same block.
        """
        if other.prepended is not None:
            self.prepended = (
                other.prepended
                if self.prepended is None
                else _join(self.prepended, other.prepended, 1)
            )
        for block in other.pooled.keys() & self.pooled.keys():
            self.add(PromptPlan(context={block: other.pooled[block].tokens()}))
        self.pooled = {**other.pooled, **self.pooled}
        for block, tokens in other.context.items():
            self.context[block] = (
                _join(self.context[block], tokens, 1) if block in self.context else tokens
            )
        for block, (keys, values) in other.prefix.items():
            if block in self.prefix:
                mine = self.prefix[block]
                keys, values = _join(mine[0], keys, 2), _join(mine[1], values, 2)
            self.prefix[block] = (keys, values)
        if other.offset is not None:
            self.offset = other.offset if self.offset is None else self.offset + other.offset
        for block, (keys, values) in other.additive.items():
            if block in self.additive:
                mine = self.additive[block]
                keys, values = mine[0] + keys, mine[1] + values
            self.additive[block] = (keys, values)
        for name in ("adapter", "gate", "routed"):
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
        plan = replace(self.mapped(lambda values: values), pooled={})
        rows = 0
        for i, pooled in self.pooled.items():
            # A gate is for the scores of prefixes alone.
            if i < len(blocks) and pooled.repeats and i not in plan.gate:
                plan.add(PromptPlan(prefix={i: pooled.keys_and_values(blocks[i], dtype)}))
                rows += pooled.entries.shape[0] * pooled.entries.shape[1]
            else:
                plan.add(PromptPlan(context={i: pooled.tokens()}))
        return plan, rows

    def loss(self) -> Tensor | None:
        """Sum of the prompts' own terms of loss, once the pass is done; None without any."""
        terms = [term() for term in self.losses]
        return torch.stack(terms).sum() if terms else None

    def to(self, dtype: torch.dtype) -> PromptPlan:
        """The same prompts in another precision; functions stay as they are."""
        return self.mapped(lambda values: values.to(dtype))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> PromptPlan:
        """The plan with each of its tensors changed, always in the same order; functions stay as
        they are."""
        return replace(
            self,
            prepended=None if self.prepended is None else change(self.prepended),
            offset=None if self.offset is None else change(self.offset),
            context={block: change(tokens) for block, tokens in self.context.items()},
            pooled={block: pooled.mapped(change) for block, pooled in self.pooled.items()},
            prefix={block: (change(k), change(v)) for block, (k, v) in self.prefix.items()},
            additive={block: (change(k), change(v)) for block, (k, v) in self.additive.items()},
        )

    def tensors(self) -> list[Tensor]:
        """All tensors of the plan, in the order of :meth:`mapped`."""
        found: list[Tensor] = []

        def noted(values: Tensor) -> Tensor:
            found.append(values)
            return values

        self.mapped(noted)
        return found

    def modules(self) -> list[nn.Module]:
        """The modules whose parameters its functions use, each once."""
        functions = [*self.adapter.values(), *self.gate.values(), *self.routed.values()]
        used = [getattr(function, "pool", function) for function in functions]
        return list(dict.fromkeys(module for module in used if isinstance(module, nn.Module)))

    def of_block(self, block: int) -> dict[str, Any]:
        """Arguments of :func:`run_block` for one block, by name."""
        return {name: getattr(self, name).get(block) for name in BY_BLOCK}

    def first_block(self) -> int:
        """The first block that these prompts change, or a number beyond all without any."""
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


def _join(first: Tensor, second: Tensor, dim: int) -> Tensor:
    batch = max(first.shape[0], second.shape[0])
    return torch.cat(
        [first.expand(batch, *first.shape[1:]), second.expand(batch, *second.shape[1:])], dim=dim
    )


def run_block(
    block: Block,
    tokens: Tensor,
    *,
    context: Tensor | None = None,
    prefix: KeyValue | None = None,
    adapter: BlockAdapter | None = None,
    gate: Callable[[Tensor], Tensor] | None = None,
    routed: RoutedPrefix | None = None,
    additive: KeyValue | None = None,
    first: int | None = None,
    projected: Tensor | None = None,
) -> Tensor:
    """One pre-norm block over ``tokens``, attending to prompts as well.

    Args:
        block: a timm ``Block`` whose attention is a plain ``Attention``.
        tokens: (batch, n, dim).
        context: (batch or 1, p, dim) tokens that act as keys and values only (see the module's
            docstring).
        prefix: keys and values (batch or 1, heads, p, head dim) that skip the qkv projection and
            ``k_norm``.
        adapter: see :class:`PromptPlan`, and so are ``gate``, ``routed`` and ``additive``.
        gate: applied to the scores of the prefix.
        routed: a prefix that depends on the queries.
        additive: added to the class token's key and value after the projection and ``k_norm``.
        first: number of leading tokens to compute and return; all tokens still act as keys and
            values. ``1`` is what the last block needs when only the class token is read.
        projected: :func:`~cl_prompts.backbones.attention.project` of the same tokens, if known.

    Returns:
        (batch, n or ``first``, dim)
    """
    changes = (context, prefix, adapter, routed, additive, first, projected)
    unchanged = all(change is None for change in changes)
    if unchanged and not multiplies_out(tokens, tokens.shape[1]):
        return block(tokens)
    attn = block.attn
    normed = block.norm1(tokens) if projected is None or output_gate(attn) is not None else tokens
    asking = tokens if first is None else tokens[:, :first]
    query, keys, values = _query_key_value(
        attn, normed, projected, first if routed is None else None
    )
    query, keys = attn.q_norm(query), attn.k_norm(keys)
    if additive is not None:
        keys, values = _add_to_class_token(keys, values, additive)
    if context is not None:
        more_keys, more_values = by_head(
            attn, project_parts(attn, block.norm1(context), slice(1, 3)), 2
        )
        keys, values = _join(keys, attn.k_norm(more_keys), 2), _join(values, more_values, 2)
    scored: list[KeyValue] = []
    if routed is not None:
        scores, routed_values = routed(query)
        query = query[:, :, : asking.shape[1]]
        scored.append((scores[:, :, None].expand(-1, -1, query.shape[2], -1), routed_values))
    if prefix is not None and gate is not None:
        raw = query @ prefix[0].transpose(-2, -1) * query.shape[-1] ** -0.5
        scored.append((gate(raw), prefix[1]))
    elif prefix is not None:
        keys, values = _join(keys, prefix[0], 2), _join(values, prefix[1], 2)
    attended = attention_output(
        attn, _attend(query, keys, values, scored), normed[:, : asking.shape[1]]
    )
    asking = asking + block.drop_path1(block.ls1(attended))
    out = asking + block.drop_path2(block.ls2(block.mlp(block.norm2(asking))))
    return out if adapter is None else out + adapter(asking)


def _query_key_value(
    attn: Attention, normed: Tensor, projected: Tensor | None, first: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (of the first ``first`` tokens), keys and values, by head."""
    if projected is not None:
        query, keys, values = by_head(attn, projected, 3)
        return (query if first is None else query[:, :, :first]), keys, values
    if first is None:
        query, keys, values = by_head(attn, attn.qkv(normed), 3)
        return query, keys, values
    (query,) = by_head(attn, project_parts(attn, normed[:, :first], slice(0, 1)), 1)
    keys, values = by_head(attn, project_parts(attn, normed, slice(1, 3)), 2)
    return query, keys, values


def _attend(query: Tensor, keys: Tensor, values: Tensor, scored: list[KeyValue]) -> Tensor:
    """Attention over keys and values and over rows whose scores are known: ``scored`` holds scores
    (batch, heads, queries, n) and values (batch or 1, heads, n, head dim)."""
    if not scored:
        return attend(query, keys, values)
    scores = query @ keys.transpose(-2, -1) * query.shape[-1] ** -0.5
    weights = torch.cat([scores, *(more for more, _ in scored)], dim=-1).softmax(dim=-1)
    for _, more in scored:
        values = _join(values, more.to(values.dtype), 2)
    return weights.to(values.dtype) @ values


def _add_to_class_token(keys: Tensor, values: Tensor, additive: KeyValue) -> KeyValue:
    """Keys and values (batch, heads, n, head dim), with vectors added to those of the first
    token."""
    return (
        torch.cat([keys[:, :, :1] + additive[0][:, :, None], keys[:, :, 1:]], dim=2),
        torch.cat([values[:, :, :1] + additive[1][:, :, None], values[:, :, 1:]], dim=2),
    )
