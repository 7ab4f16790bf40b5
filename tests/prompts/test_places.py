"""Where prompts go is checked before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cl_prompts.errors import InputError
from cl_prompts.prompts.places import check_blocks


def test_blocks_that_there_are_pass() -> None:
    check_blocks(4, g_blocks=(0, 1), e_blocks=(3,))


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ((), "e_blocks is empty: name at least one block between 0 and 3"),
        ((2, 4), "e_blocks holds block 4, but this ViT has blocks 0 to 3"),
        ((-1,), "e_blocks holds block -1"),
        ((1, 1), r"e_blocks is \[1, 1\]: a block is there twice"),
    ],
)
def test_others_are_refused(blocks: Sequence[int], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_blocks(4, g_blocks=(0,), e_blocks=blocks)
