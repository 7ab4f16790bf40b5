"""OnePrompt: one prefix for every image."""

from __future__ import annotations

import torch

from tests.toy_data import Blobs, experiences
from tests.toys import fit, make


def test_every_image_gets_the_same_prefix_and_nothing_is_chosen() -> None:
    model = fit(make("one_prompt"), experiences()).model.eval()
    output = model.run(Blobs(6, seed=7).images)
    assert output.selection is None
    assert output.cacheable == {}
    (pool,) = model.pools
    plan = pool.build(None)
    assert set(plan.prefix) == {0, 1, 2, 3}
    assert all(keys.shape == (1, 2, 4, 8) for keys, _ in plan.prefix.values())


def test_one_prefix_learns_in_every_task() -> None:
    strategy, moved = make("one_prompt", "class_incremental"), []
    values = strategy.model.pools[0].values
    for experience in experiences("class_incremental"):
        before = values.detach().clone()
        fit(strategy, [experience])
        moved.append(bool((before != values).all()))
    assert moved == [True] * 3
    assert not torch.equal(values, make("one_prompt").model.pools[0].values)
