"""A classifier without gradients on the class token."""

import torch

from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.closed_form.prototype_classifiers import NearestClassMean
from cl_prompts.models.prototype import PrototypeViT
from tests.toy_vits import tiny_vit

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
    distance = torch.cdist(features, means).square()
    want = distance.amin(dim=1, keepdim=True) - distance
    torch.testing.assert_close(out.logits[:, [0, 2]], want, atol=1e-4, rtol=0)
    assert (out.logits[:, [1, 3]] == -torch.inf).all()
    assert not out.logits.requires_grad
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_several_labels_an_image_go_to_a_ridge_with_what_is_annotated() -> None:
    model = PrototypeViT(tiny_vit(), MultiLabelRidge(16, 3, pseudo=0.5), multi_label=True)
    twin = MultiLabelRidge(16, 3, pseudo=0.5)
    features = model.features(IMAGES)
    known = torch.tensor([True, True, False])
    labels = (torch.arange(18).view(6, 3) % 2).float()
    model.observe_classes(labels * known)
    model.learn(features, labels, known)
    twin.update(features, labels, known)
    model.head.settle()
    assert torch.equal(model.run(IMAGES).logits, twin(features))
    assert not model(IMAGES)[:, 2].any()
    assert model.head.settled.tolist() == known.tolist()
    assert model.score_threshold == twin.score_threshold
    assert fed().score_threshold is None
