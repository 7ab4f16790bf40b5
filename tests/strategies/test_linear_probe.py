"""Linear probe: only the head learns."""

from __future__ import annotations

import torch

from cl_prompts.models.prompted import PromptedViT
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make, weights


def test_it_classifies_the_plain_class_token() -> None:
    model, images = fit(make("linear_probe"), experiences()).model, Blobs(6, seed=7).images
    assert isinstance(model, PromptedViT)
    want = model.head(model.backbone(images))
    torch.testing.assert_close(model(images), want, atol=1e-5, rtol=0)


def test_each_class_of_a_multi_label_probe_learns_alone() -> None:
    strategy = make("linear_probe", "mlcil", new_optimizer=True)
    first, second, *_ = experiences("mlcil")
    old = sorted(first.classes_in_this_experience)
    before = weights(fit(strategy, [first]))["head.weight"][old]
    after = weights(fit(strategy, [second]))["head.weight"][old]
    assert torch.equal(before, after)
