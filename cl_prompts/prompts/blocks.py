"""Prompted blocks of a ViT, checked before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Size
from cl_prompts.errors import InputError

#: Block numbers, 0-based.
Blocks = Sequence[Size]


def chosen_blocks(backbone: FrozenViT, prompted_blocks: Blocks | None) -> Blocks:
    """Return the checked blocks of a setting; None means all."""
    if prompted_blocks is None:
        return range(backbone.depth)
    check_blocks(backbone.depth, prompted_blocks=prompted_blocks)
    return prompted_blocks


def prefix_shape(
    backbone: FrozenViT, prompted_blocks: Blocks | None, prompt_length: int
) -> tuple[Blocks, int, int, int]:
    """Return blocks, length, token width and heads, the first arguments of prefixes."""
    blocks = chosen_blocks(backbone, prompted_blocks)
    return blocks, prompt_length, backbone.dim, backbone.n_heads


def check_blocks(depth: int, **blocks: Sequence[int]) -> None:
    """Raise ``InputError`` for empty lists, and for repeated or missing blocks.

    Args:
        depth: blocks of the ViT.
        **blocks: setting -> block numbers.

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
            raise InputError(f"{name} is {list(chosen)}: name each block once")
