"""A classifier without gradients on the class token."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.models.prototype_classifiers import (
    NearestClassMean,
)
from tests.toys import tiny_vit

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(7))


def fed() -> PrototypeViT:
    model = PrototypeViT(tiny_vit(), NearestClassMean(16, 4, metric="euclidean"))
    labels = torch.tensor([0, 0, 2])
    model.head.update(model.features(IMAGES[:3]), labels)
    model.observe_classes(labels)
    return model


def test_scores_are_the_classifiers_on_the_class_token() -> None:
    model = fed()
    features = model.backbone(IMAGES)
    out = model.run(IMAGES)
    assert torch.equal(out.features, features)
    means = torch.stack([features[:2].mean(dim=0), features[2]])
    want = -torch.cdist(features, means).square()
    torch.testing.assert_close(out.logits[:, [0, 2]], want, atol=1e-4, rtol=0)
    assert (out.logits[:, [1, 3]] == -torch.inf).all()
    assert not out.logits.requires_grad
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_cached_features_do_without_images() -> None:
    model = fed()
    plain = model.run(IMAGES)
    assert plain.cacheable.keys() == model.cache_keys().keys()
    assert model.needs_images([])
    assert not model.needs_images(plain.cacheable)
    model.backbone.counter.reset()
    assert torch.equal(model.run(None, plain.cacheable).logits, plain.logits)
    assert model.backbone.counter.images == 0
    with pytest.raises(TypeError, match="needs images unless"):
        model.run(None)


def test_what_does_not_fit_is_refused(vit: FrozenViT) -> None:
    with pytest.raises(InputError, match="this backbone is thawed"):
        PrototypeViT(vit.thawed(), NearestClassMean(16, 3))
    with pytest.raises(InputError, match="features of width 5: this ViT's have 16"):
        PrototypeViT(vit, NearestClassMean(5, 3))
