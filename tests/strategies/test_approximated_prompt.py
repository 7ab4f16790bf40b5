"""Approximated prompts: what a run of them moves, and what a pass costs."""

from __future__ import annotations

import torch

from tests.toy_data import Blobs, experiences
from tests.toy_vits import DEPTH, empty_vit_b
from tests.toys import cls_of, fit, make


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


def test_fifty_rows_in_every_block_cost_one_percent_of_a_forward() -> None:
    costs = []
    for kind in ("approximated_prompt", "linear_probe"):
        vit = empty_vit_b()
        given = {"n_classes": 10, "evaluator": None, "device": torch.device("meta")}
        model = cls_of(kind)(backbone=vit, **given).model.eval()
        vit.counter.reset()
        model(torch.empty(1, 3, 224, 224, device="meta"))
        costs.append(vit.counter.macs / vit.forward_macs)
    # Eleven blocks of 197 tokens and a last one of the class token.
    assert 0.009 < costs[0] - costs[1] < 0.01
