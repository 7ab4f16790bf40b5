"""OnePrompt: one prefix for every image."""

from __future__ import annotations

import torch

from tests.toy_data import experiences
from tests.toys import fit, make


def test_one_prefix_learns_in_every_task() -> None:
    strategy, moved = make("one_prompt", "class_incremental"), []
    values = strategy.model.pools[0].values
    for experience in experiences("class_incremental"):
        before = values.detach().clone()
        fit(strategy, [experience])
        moved.append(bool((before != values).all()))
    assert moved == [True] * 3
    assert not torch.equal(values, make("one_prompt").model.pools[0].values)
