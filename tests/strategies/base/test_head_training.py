"""Fine-tuning and the replay and regularisation baselines: rates, buffers, labels."""

import pytest
import torch

from tests.toys import TABLE, cls_of, make

HEADS = [kind for kind in TABLE if "backbone_lr" in cls_of(kind).settings()]


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("backbone_lr", [0.0, 1e-3])
def test_the_backbone_learns_only_if_it_has_a_rate(kind: str, backbone_lr: float) -> None:
    strategy = make(kind, backbone_lr=backbone_lr, weight_decay=0.1, lr=0.02)
    groups = strategy.optimizer.param_groups
    assert [group["lr"] for group in groups] == ([0.02, 1e-3] if backbone_lr else [0.02])
    assert {group["weight_decay"] for group in groups} == {0.1}
    assert isinstance(strategy.optimizer, torch.optim.AdamW)
    assert strategy.model.backbone.trainable == bool(backbone_lr)
