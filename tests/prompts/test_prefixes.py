"""Prompts that are keys and values of a block."""

from __future__ import annotations

import torch

from cl_prompts.prompts.prefixes import PrefixPool, SharedPrefix, split_heads
from cl_prompts.prompts.selectors import NearestKeys


def test_every_image_gets_its_own_keys_and_values() -> None:
    pool = PrefixPool(4, (1, 3), 2, 16, 2)
    selector = NearestKeys(4, 16, k=2)
    selection = selector(torch.randn(6, 16))
    plan = pool.build(selection)
    for i, block in enumerate((1, 3)):
        for b, row in enumerate(selection.index.tolist()):
            for part in (0, 1):
                literal = pool.values[row, i, part].view(4, 2, 8)  # of k entries and their length
                assert torch.equal(plan.prefix[block][part][b], literal.transpose(0, 1))


def test_heads_are_contiguous_channels() -> None:
    keys, values = split_heads(torch.arange(24.0).view(1, 2, 2, 6), 3)
    assert keys[0, :, 0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert values[0, 2].tolist() == [[16, 17], [22, 23]]


def test_a_shared_prefix_is_the_same_for_all_images() -> None:
    shared = SharedPrefix((0, 2), 3, 16, 2)
    plan = shared.build(None)
    assert set(plan.prefix) == {0, 2}
    for i, block in enumerate((0, 2)):
        for part in (0, 1):
            literal = shared.values[i, part].view(3, 2, 8).transpose(0, 1)
            assert torch.equal(plan.prefix[block][part][0], literal)
