"""Fine-tuning and the replay and regularisation baselines: rates, buffers, labels."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from tests.toy_vits import tiny_vit
from tests.toys import MULTI_LABEL, TABLE, cls_of, make

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


@pytest.mark.parametrize("kind", [kind for kind in HEADS if cls_of(kind).needs_buffer])
def test_a_method_that_learns_from_its_buffer_needs_one(kind: str) -> None:
    with pytest.raises(InputError, match=f"buffer_size of {cls_of(kind).__name__} is 0: it learns"):
        make(kind, buffer_size=0)


@pytest.mark.parametrize("kind", [kind for kind in HEADS if kind not in MULTI_LABEL])
def test_methods_for_one_class_per_image_say_so(kind: str) -> None:
    with pytest.raises(InputError, match="multi_label"):
        make(kind, multi_label=True)
    model = PromptedViT(tiny_vit(), 6, multi_label=True)
    with pytest.raises(InputError, match=f"{cls_of(kind).__name__} is defined for one class per"):
        make(kind, model=model)


def test_a_rate_for_a_given_models_frozen_backbone_is_refused() -> None:
    with pytest.raises(InputError, match=r"backbone_lr of FineTuning .* is frozen"):
        make("fine_tuning", model=PromptedViT(tiny_vit(), 6))


def test_a_given_models_trainable_backbone_needs_a_rate_or_an_optimizer() -> None:
    model = PromptedViT(tiny_vit().thawed(), 6)
    with pytest.raises(InputError, match=r"backbone_lr of ExperienceReplay is 0, and the given m"):
        make("er", model=model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(InputError, match="weight_decay is of ExperienceReplay's own optimizer"):
        make("er", model=model, optimizer=optimizer, weight_decay=0.1)
    assert make("er", model=model, optimizer=optimizer).optimizer is optimizer
