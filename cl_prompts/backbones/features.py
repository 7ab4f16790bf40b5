"""Read-outs: the tokens of a pass through a ViT that become an image's feature."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cl_prompts.checks import shown
from cl_prompts.errors import InputError

_NAME = re.compile(r"(raw_)?blocks:(half|[1-9][0-9]{0,4})(\+patches)?")


@dataclass(frozen=True)
class Features:
    """Tokens of the last blocks, side by side, as the feature of an image.

    Of each block the class token is read (L2P: the mean over its prompt tokens), and with
    ``patches`` the mean over the patch tokens behind it, each through the ViT's final norm. Reading
    several blocks is the idea of LayUP (TMLR 2024, arXiv 2312.08888), which reads them without the
    norm. There is no further pass: the outputs of blocks are on the way to that of the last.

    Attributes:
        blocks: how many of the last blocks.
        patches: read the mean patch token as well, for which the last block computes all tokens.
        normed: through the final norm; otherwise as the block leaves it.

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
        """The read-out of a name.

        Args:
            name: ``"token"``, the class token of the last block behind the final norm, or
                ``"blocks:K"``, that of the last K blocks, where ``half`` stands for half of all;
                ``"blocks:K+patches"``, with mean patch tokens; ``"raw_blocks:K"``, without the
                norm.

        Raises:
            InputError: another name, or more blocks than there are.
        """
        if name == "token":
            return cls()
        found = _NAME.fullmatch(name) if isinstance(name, str) else None
        if found is None:
            raise InputError(
                f"features is {shown(name)}: give token, blocks:K, blocks:K+patches or raw_blocks:K"
                " with a number K of last blocks, or blocks:half"
            )
        raw, number, patches = found.groups()
        blocks = max(1, depth // 2) if number == "half" else int(number)
        if blocks > depth:
            raise InputError(f"features={name} reads {blocks} blocks: this ViT has {depth}")
        return cls(blocks, patches is not None, raw is None)

    def width(self, dim: int) -> int:
        """Width of a feature, where a token's is ``dim``."""
        return self.blocks * (1 + self.patches) * dim

    def tokens_of(
        self, output: Tensor, read: slice, patches: slice, norm: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """The features of one block.

        Args:
            output: (batch, n, dim) of the block.
            read, patches: places of the token that is read (of several, their mean) and of the
                patch tokens.
            norm: the final norm.

        Returns:
            one or two (batch, dim) in fp32.
        """
        places = [read, patches] if self.patches else [read]
        chosen = [output[:, place] for place in places]
        normed = [norm(tokens) for tokens in chosen] if self.normed else chosen
        return [tokens.float().mean(dim=1) for tokens in normed]


#: The class token of the last block behind the final norm, which published methods read.
TOKEN = Features()
