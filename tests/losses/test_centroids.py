"""HiDe-Prompt's contrast against its formula; published numbers are in prompts/test_momentum.py."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from cl_prompts.losses.centroids import centroid_contrast


def test_every_row_should_be_closest_to_itself() -> None:
    features = torch.randn(4, 3)
    means = torch.randn(2, 3)
    rows = torch.cat([means, features])
    want = torch.stack(
        [F.cross_entropy((rows @ row / 0.8)[None], torch.tensor([i])) for i, row in enumerate(rows)]
    ).mean()
    torch.testing.assert_close(centroid_contrast(features, means), want)


def test_means_are_constants_and_large_features_stay_finite() -> None:
    features = (100 * torch.randn(4, 3)).requires_grad_()
    means = torch.randn(2, 3, requires_grad=True)
    loss = centroid_contrast(features, means)
    loss.backward()
    assert loss.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert means.grad is None
