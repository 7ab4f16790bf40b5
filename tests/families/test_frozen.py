"""Frozen weights do not change; only declared parameters are trained."""

import pytest
import torch

from tests.families.runs import finished
from tests.toy_vits import DEPTH
from tests.toys import ALL, TABLE, cases, same, vit_of

both = pytest.mark.parametrize(("kind", "scenario"), cases("si_blurry", "class_incremental"))


@both
def test_the_backbone_that_was_given_stays_bit_identical(kind: str, scenario: str) -> None:
    run = finished(kind, scenario)
    backbone = run.strategy.backbone
    assert same(vit_of(kind, backbone.depth).state_dict(), backbone.state_dict())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(parameter.grad is None for parameter in backbone.parameters())
    # A backbone that learns is a copy.
    learns = ALL[kind].learns == "weights" and ALL[kind].retest == DEPTH
    assert run.strategy.model.backbone.trainable == learns
    assert (run.strategy.model.backbone.vit is backbone.vit) != learns


@both
def test_only_declared_parameters_move(kind: str, scenario: str) -> None:
    run = finished(kind, scenario)
    model = run.strategy.model
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


@pytest.mark.parametrize("kind", TABLE)
def test_the_optimizer_holds_what_learns_and_nothing_else(kind: str) -> None:
    strategy = finished(kind).strategy
    optimized = {id(p) for group in strategy.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in strategy.model.parameters() if p.requires_grad}
