"""Approximated prompts: what a run of them moves, and what a pass costs."""

from __future__ import annotations

from tests.toy_data import Blobs, experiences
from tests.toy_vits import DEPTH
from tests.toys import fit, make


def test_all_parts_of_every_block_learn_and_nothing_is_chosen() -> None:
    strategy = make("approximated_prompt")
    (pool,) = strategy.model.pools
    assert pool.blocks == tuple(range(DEPTH))
    before = {name: value.detach().clone() for name, value in pool.named_parameters()}
    output = fit(strategy, experiences()).model.eval().run(Blobs(6, seed=7).images)
    assert output.selection is None
    assert output.cacheable == {}
    for name, value in pool.named_parameters():
        moved = value != before[name]
        assert moved.view(1, DEPTH, -1).any(dim=2).all(), name
