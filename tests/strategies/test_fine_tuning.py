"""Fine-tuning: every weight learns, slowly in the backbone."""

from __future__ import annotations

from tests.toy_data import experiences
from tests.toys import fit, make


def test_backbone_and_head_have_rates_of_their_own() -> None:
    strategy = fit(make("fine_tuning", lr=0.02), experiences())
    assert [group["lr"] for group in strategy.optimizer.param_groups] == [0.02, 1e-3]
    assert [group["weight_decay"] for group in strategy.optimizer.param_groups] == [0.01] * 2
    head, vit = (group["params"] for group in strategy.optimizer.param_groups)
    assert len(head) == 2
    assert {id(p) for p in vit} == {id(p) for p in strategy.model.backbone.parameters()}
