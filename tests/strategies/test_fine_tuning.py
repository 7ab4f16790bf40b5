"""Fine-tuning: every weight learns, slowly in the backbone."""

from __future__ import annotations

import pytest
import torch

from tests.toy_data import experiences
from tests.toy_vits import lively_vit
from tests.toys import fit, make, same, weights


def test_backbone_and_head_have_rates_of_their_own() -> None:
    strategy = fit(make("fine_tuning", lr=0.02), experiences())
    assert [group["lr"] for group in strategy.optimizer.param_groups] == [0.02, 1e-3]
    assert [group["weight_decay"] for group in strategy.optimizer.param_groups] == [0.01] * 2
    head, vit = (group["params"] for group in strategy.optimizer.param_groups)
    assert len(head) == 2
    assert {id(p) for p in vit} == {id(p) for p in strategy.model.backbone.parameters()}


def test_two_strategies_share_one_frozen_backbone() -> None:
    backbone = lively_vit()
    first, second = (make("fine_tuning", backbone=backbone) for _ in range(2))
    fit(first, experiences()[:1])
    assert same(weights(second), weights(make("fine_tuning")))


@pytest.mark.parametrize("backbone_lr", [0.0, 1e-3])
def test_a_rate_of_zero_keeps_the_backbone_frozen(backbone_lr: float) -> None:
    strategy = make("fine_tuning", backbone_lr=backbone_lr)
    before, after = weights(strategy), weights(fit(strategy, experiences()[:1]))
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head", "seen", *(["backbone"] if backbone_lr else [])}
