"""Frozen weights do not change; only declared parameters are trained."""

import pytest
import torch

from tests.families.runs import finished
from tests.toy_vits import DEPTH
from tests.toys import ALL, LOOKED_AT, cases, same, vit_of


@pytest.mark.parametrize(("kind", "scenario"), cases(*LOOKED_AT))
def test_the_backbone_stays_and_only_declared_parameters_move(kind: str, scenario: str) -> None:
    run = finished(kind, scenario)
    model, backbone = run.strategy.model, run.strategy.backbone
    assert same(vit_of(kind, backbone.depth).state_dict(), backbone.state_dict())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(parameter.grad is None for parameter in backbone.parameters())
    # A backbone that learns is a copy.
    learns = ALL[kind].learns == "weights" and ALL[kind].retest == DEPTH
    assert model.backbone.trainable == learns
    assert (model.backbone.vit is backbone.vit) != learns
    optimized = {id(p) for group in run.strategy.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in model.parameters() if p.requires_grad}
    moved = {name for name in run.before if not torch.equal(run.before[name], run.after[name])}
    declared = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if ALL[kind].learns == "prototypes":
        assert declared == set()
        assert "head.count" in moved
        return
    if ALL[kind].learns == "adapters":
        assert {name.split(".")[0] for name in moved} >= {"adapters", "head"}
        assert not any(name.startswith("backbone.") for name in moved)
        return
    fresh = {name for name, _ in model.named_parameters()} - run.before.keys()  # lanes on demand
    assert fresh | moved & declared
    parts = {name.split(".")[0] for name in moved | fresh}
    assert ("backbone" in parts) == model.backbone.trainable
    if ALL[kind].learns == "prompts":
        assert parts & {"pools", "lanes"}
