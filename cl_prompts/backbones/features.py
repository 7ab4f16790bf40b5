"""Features: which tokens of a ViT represent an image."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from cl_prompts.checks import shown
from cl_prompts.errors import InputError

Pooling = Literal["token", "avg", "pool"]

#: Features that a ViT may lack, and what they need.
_MISSING = {"token": "a class token", "avg": "patch tokens", "pool": "an attention pool"}
_NAME = re.compile(r"(raw_)?blocks:(half|[1-9][0-9]{0,4})(\+patches)?")


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
        if patches is not None and pools[0] == "avg":
            raise InputError(
                f"features={name} adds mean patch tokens, which this ViT reads anyway: use"
                f" {name.removesuffix('+patches')}"
            )
        return cls(blocks, patches is not None, raw is None, pools[0])

    @property
    def class_only(self) -> bool:
        """Whether the class token is all that is read of a block."""
        return self.pool == "token" and not self.patches

    def width(self, dim: int) -> int:
        """Return the width of a feature for tokens of width ``dim``."""
        return self.blocks * (1 + self.patches) * dim


@dataclass(frozen=True)
class Stored:
    """Features that were computed before, which no pass of the ViT has to compute.

    Attributes:
        size: width of a feature.
        source: what made them.

    Example:
        >>> Stored(384, "ViT-S").width(dim=192)
        384
    """

    size: int
    source: str

    def width(self, dim: int) -> int:
        """Return the width of a feature."""
        return self.size

    def on(self, backbone: Any) -> Any:
        """Return a copy of a backbone that maps stored features (batch, size) to themselves."""
        twin = copy.copy(backbone)
        twin.features = self
        return twin


#: The class token of the last block after the final norm, as in the published methods.
TOKEN = Features()
