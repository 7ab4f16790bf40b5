"""Features: which tokens of a ViT represent an image."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cl_prompts.checks import shown
from cl_prompts.errors import InputError

_NAME = re.compile(r"(raw_)?blocks:(half|[1-9][0-9]{0,4})(\+patches)?")


@dataclass(frozen=True)
class Features:
    """Tokens of the last blocks, concatenated to the feature of an image.

    Each block contributes its class token (L2P: the mean of its prompt tokens), and with
    ``patches`` the mean of its patch tokens, after the ViT's final norm. Several blocks are the
    idea of LayUP (TMLR 2024, arXiv 2312.08888), which omits the norm. They need no further forward
    pass, since the last block builds on their outputs.

    Attributes:
        blocks: number of last blocks.
        patches: include the mean patch token; the last block then computes all tokens.
        normed: apply the final norm.

    Example:
        >>> Features.of("blocks:3+patches", depth=12)
        Features(blocks=3, patches=True, normed=True)
        >>> Features.of("blocks:half", depth=12).width(384)
        2304
    """

    blocks: int = 1
    patches: bool = False
    normed: bool = True

    @classmethod
    def of(cls, name: str, depth: int) -> Features:
        """Parse the name of features.

        Args:
            name: ``"token"``, the class token of the last block after the final norm;
                ``"blocks:K"``, those of the last K blocks (K is a number, or ``half`` of all);
                ``"blocks:K+patches"``, with mean patch tokens; ``"raw_blocks:K"``, without the
                norm.
            depth: number of blocks of the ViT.

        Raises:
            InputError: an unknown name, or more blocks than there are.
        """
        if name == "token":
            return cls()
        found = _NAME.fullmatch(name) if isinstance(name, str) else None
        if found is None:
            raise InputError(
                f"features is {shown(name)}: use token, blocks:K, blocks:K+patches or raw_blocks:K"
                " with a number K of last blocks, or blocks:half"
            )
        raw, number, patches = found.groups()
        blocks = max(1, depth // 2) if number == "half" else int(number)
        if blocks > depth:
            raise InputError(f"features={name} needs {blocks} blocks, but this ViT has {depth}")
        return cls(blocks, patches is not None, raw is None)

    def width(self, dim: int) -> int:
        """Return the width of a feature for tokens of width ``dim``."""
        return self.blocks * (1 + self.patches) * dim

    def tokens_of(
        self, output: Tensor, read: slice, patches: slice, norm: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """Return the features of one block, one or two tensors (batch, dim) in fp32.

        Args:
            output: (batch, n, dim) of the block.
            read, patches: positions of the class or prompt tokens, and of the patch tokens; each
                slice is averaged.
            norm: the final norm.
        """
        places = [read, patches] if self.patches else [read]
        chosen = [output[:, place] for place in places]
        normed = [norm(tokens) for tokens in chosen] if self.normed else chosen
        return [tokens.float().mean(dim=1) for tokens in normed]


@dataclass(frozen=True)
class Stored:
    """Features that were computed before, which no pass of the ViT has to compute.

    Attributes:
        size: width of a feature.
        source: what made them.
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
