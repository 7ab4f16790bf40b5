"""Architecture of a timm ViT, read once, and the tokens of it that represent an image."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from timm.layers import Attention, PatchEmbed, apply_rot_embed_cat
from timm.models import eva
from timm.models.eva import Eva
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, cat, nn

from cl_prompts.checks import shown
from cl_prompts.errors import InputError

Pooling = Literal["token", "avg", "pool"]

#: Names of pooling in timm -> here.
_POOLS: dict[str, Pooling] = {"token": "token", "avg": "avg", "map": "pool"}
_WORKS = (
    "use a ViT, DeiT, DeiT-3, DINO, DINOv2, DINOv3, MAE, CLIP, SigLIP, EVA-02, Perception Encoder"
    " or AIMv2 image encoder of timm (vit_*, eva02_*, aimv2_*)"
)
#: Features that a ViT may lack, and what they need.
_MISSING = {"token": "a class token", "avg": "patch tokens", "pool": "an attention pool"}
_NAME = re.compile(r"(raw_)?blocks:(half|[1-9][0-9]{0,4})(\+patches)?")


@dataclass(frozen=True)
class Rotation:
    """Rotary positions of one block, applied to the patches of a sequence alone.

    Class, register and prompt tokens have no position, so they are not rotated.

    Attributes:
        table: (patches, 2 head dim), or (heads, patches, 2 head dim), of timm.
        start: place of the first patch in the sequence.
        half: timm's layout of the head's channels.

    Example:
        >>> import torch
        >>> turn = Rotation(torch.cat([torch.zeros(4, 8), torch.ones(4, 8)], dim=1), 1, False)
        >>> keys = torch.randn(2, 3, 7, 8)  # a class token, 4 patches and 2 prompts
        >>> torch.equal(turn(keys), keys)  # by an angle of 0
        True
    """

    table: Tensor
    start: int
    half: bool

    def __call__(self, rows: Tensor) -> Tensor:
        """Rotate the patches among queries or keys (batch, heads, n, head dim)."""
        if rows.shape[2] <= self.start:  # only tokens in front of the patches
            return rows
        stop = self.start + self.table.shape[-2]
        layout = {"half": True} if self.half else {}
        turned = apply_rot_embed_cat(rows[:, :, self.start : stop], self.table, **layout)
        parts = [rows[:, :, : self.start], turned.type_as(rows), rows[:, :, stop:]]
        return cat(parts, dim=2)


@dataclass(frozen=True)
class Architecture:
    """Structure of a timm ViT: prefix tokens, pooling, positions.

    Attributes:
        pools: possible features of an image; the first is what the model itself reads.
        prefix: class and register tokens, which stand before the patches.
        pooled_from: first token that the model's own pooling reads.
        rotary: the model has rotary positions.

    Example:
        >>> Architecture.of(VisionTransformer(depth=1, class_token=False, global_pool="avg"))
        Architecture(pools=('avg',), prefix=0, pooled_from=0, rotary=False)
    """

    pools: tuple[Pooling, ...]
    prefix: int
    pooled_from: int
    rotary: bool

    @classmethod
    def of(cls, vit: nn.Module) -> Architecture:
        """Read a model.

        Raises:
            InputError: not a ViT of pre-norm blocks over square RGB images, or another pooling than
                the class token, the mean patch token and an attention pool.
        """
        plain: Any = vit
        if not isinstance(vit, VisionTransformer | Eva) or hasattr(vit, "dist_token"):
            raise InputError(f"{type(vit).__name__} is not a plain Vision Transformer: {_WORKS}")
        if type(plain.patch_embed) is not PatchEmbed:
            raise _unsupported(f"patch embedding {type(plain.patch_embed).__name__}")
        sides = set(plain.patch_embed.img_size or ())
        if len(sides) != 1 or plain.patch_embed.proj.in_channels != 3:
            raise _unsupported("input other than square RGB images")
        for block in plain.blocks:
            _check_block(block)
        own = _POOLS.get(plain.global_pool)
        if own is None or (own == "token" and plain.cls_token is None):
            raise _unsupported(f"pooling {plain.global_pool!r}")
        possible: tuple[Pooling, ...] = (
            ("token", "avg") if plain.cls_token is not None else ("avg",)
        )
        rotary = getattr(vit, "rope", None) is not None
        prefix = int(plain.num_prefix_tokens)
        # Eva's attention pool reads all tokens, that of other ViTs the patches.
        includes = getattr(vit, "pool_include_prefix", own == "pool")
        pools = (own, *(pool for pool in possible if pool != own))
        return cls(pools, prefix, 0 if includes else prefix, rotary)

    def read_by(self, pool: Pooling, n: int) -> slice:
        """Return the tokens that a pooling reads among the ``n`` tokens of an image."""
        if pool == "token":
            return slice(1)
        return slice(self.pooled_from if pool == self.pools[0] else self.prefix, n)

    def rotations(
        self, vit: nn.Module, n_patches: int, start: int, kept: Tensor | None = None
    ) -> list[Rotation | None]:
        """Return the rotary positions of each block, None without any.

        Args:
            vit: the model.
            n_patches: patches of a square image.
            start: place of the first patch in the sequence.
            kept: (batch, start + k) places of the tokens that are computed; None for all.
        """
        plain: Any = vit
        if not self.rotary:
            return [None] * len(plain.blocks)
        side = math.isqrt(n_patches)
        sized = {"shape": (side, side)} if plain.dynamic_img_size else {}
        table = plain.rope.get_embed(**sized)
        # Of mixed rotary positions each block has its own.
        tables = list(table) if plain.rope_mixed else [table]
        if kept is not None:
            places = kept[:, start:] - start
            # (heads, patches, width) -> (batch, heads, k, width), without heads 1 of them
            tables = [one[..., places, :].movedim(-3, 0) for one in tables]
            tables = [one if one.dim() == 4 else one[:, None] for one in tables]
        tables = tables if plain.rope_mixed else tables * len(plain.blocks)
        half = bool(getattr(plain.blocks[0].attn, "rotate_half", False))
        return [Rotation(one, start, half) for one in tables]


def _check_block(block: nn.Module) -> None:
    """Raise ``InputError`` unless a block is a pre-norm block with plain self-attention."""
    attention: object = getattr(block, "attn", None)
    kinds = (Attention, eva.EvaAttention, eva.AttentionRope)
    grouped = getattr(attention, "num_kv_groups", 1) > 1
    if type(block) not in (Block, eva.EvaBlock) or type(attention) not in kinds or grouped:
        raise _unsupported(f"block {type(block).__name__} / {type(attention).__name__}")


def _unsupported(part: str) -> InputError:
    return InputError(f"{part} is not supported: {_WORKS}")


@dataclass(frozen=True)
class Features:
    """Tokens of the last blocks, concatenated to the feature of an image.

    Each block contributes what the ViT reads of its last one (L2P: the mean of its prompt tokens):
    the class token, the mean patch token or the output of the attention pool. With ``patches`` it
    contributes the mean patch token, too. All are behind the ViT's own norms. Several blocks are
    the idea of LayUP (TMLR 2024, arXiv 2312.08888), which omits the norms. They need no further
    forward pass, since the last block builds on their outputs.

    Attributes:
        blocks: number of last blocks.
        patches: include the mean patch token; the last block then computes all tokens.
        normed: apply the norms.
        pool: ``"token"``, the class token; ``"avg"``, the mean patch token; ``"pool"``, the
            output of the attention pool.

    Example:
        >>> Features.of("blocks:3+patches", depth=12)
        Features(blocks=3, patches=True, normed=True)
        >>> Features.of("blocks:half", depth=12).width(384)
        2304
    """

    blocks: int = 1
    patches: bool = False
    normed: bool = True
    pool: Pooling = field(default="token", repr=False)

    @classmethod
    def of(cls, name: str, depth: int, pools: Sequence[Pooling] = ("token", "avg")) -> Features:
        """Parse the name of features.

        Args:
            name: ``"own"``, what the ViT itself reads: the class token, the mean patch token or the
                output of its attention pool, each after the ViT's own norms; ``"token"``,
                ``"avg"`` or ``"pool"``, one of them by name; ``"blocks:K"``, the own features of
                the last K blocks (K is a number, or ``half`` of all); ``"blocks:K+patches"``, with
                mean patch tokens; ``"raw_blocks:K"``, without the norms.
            depth: number of blocks of the ViT.
            pools: possible features of the ViT, its own first.

        Raises:
            InputError: an unknown name, more blocks than there are, or features that this ViT does
                not have.
        """
        if name == "own":
            return cls(pool=pools[0])
        if name in _MISSING:
            if name not in pools:
                raise InputError(
                    f"features={name} needs {_MISSING[name]}, which this ViT does not have: use"
                    f" features={' or '.join(pools)}"
                )
            return cls(pool=cast(Pooling, name))
        found = _NAME.fullmatch(name) if isinstance(name, str) else None
        if found is None:
            raise InputError(
                f"features is {shown(name)}: use own, token, avg, pool, blocks:K, blocks:K+patches"
                " or raw_blocks:K with a number K of last blocks, or blocks:half"
            )
        raw, number, patches = found.groups()
        blocks = max(1, depth // 2) if number == "half" else int(number)
        if blocks > depth:
            raise InputError(f"features={name} needs {blocks} blocks, but this ViT has {depth}")
        return cls(blocks, patches is not None, raw is None, pools[0])

    @property
    def class_only(self) -> bool:
        """Whether the class token is all that is read of a block."""
        return self.pool == "token" and not self.patches

    @property
    def linear(self) -> bool:
        """Whether a feature is the mean of tokens themselves."""
        return self.pool == "avg" and not (self.normed or self.patches)

    def width(self, dim: int) -> int:
        """Return the width of a feature for tokens of width ``dim``."""
        return self.blocks * (1 + self.patches) * dim
