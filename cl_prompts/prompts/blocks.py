"""The blocks of a ViT that receive prompts, checked before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Size
from cl_prompts.errors import InputError

#: Block numbers, 0-based.
Blocks = Sequence[Size]


def chosen_blocks(backbone: FrozenViT, prompted_blocks: Blocks | None) -> Blocks:
    """The blocks named by a setting; None names all.

    Raises:
        InputError: as :func:`check_blocks`.
    """
    if prompted_blocks is None:
        return range(backbone.depth)
    check_blocks(backbone.depth, prompted_blocks=prompted_blocks)
    return prompted_blocks


def prefix_shape(
    backbone: FrozenViT, prompted_blocks: Blocks | None, prompt_length: int
) -> tuple[Blocks, int, int, int]:
    """Blocks, length, token width and heads, in the order in which prefixes take them.

    Raises:
        InputError: as :func:`check_blocks`.
    """
    blocks = chosen_blocks(backbone, prompted_blocks)
    return blocks, prompt_length, backbone.dim, backbone.n_heads


def check_blocks(depth: int, **blocks: Sequence[int]) -> None:
    """Refuse lists of blocks that a ViT of ``depth`` blocks does not have.

    Args:
        **blocks: setting -> block numbers.

    Raises:
        InputError: an empty list, a block that does not exist or one that is named twice.

    Example:
        >>> check_blocks(4, e_blocks=(2, 3, 4))
        Traceback (most recent call last):
        cl_prompts.errors.InputError: e_blocks holds block 4, but this ViT has blocks 0 to 3
    """
    for name, chosen in blocks.items():
        if not chosen:
            raise InputError(f"{name} is empty: name at least one block between 0 and {depth - 1}")
        if wrong := [block for block in chosen if not 0 <= block < depth]:
            raise InputError(
                f"{name} holds block {wrong[0]}, but this ViT has blocks 0 to {depth - 1}"
            )
        if len(set(chosen)) < len(chosen):
            raise InputError(f"{name} is {list(chosen)}: a block is there twice")
