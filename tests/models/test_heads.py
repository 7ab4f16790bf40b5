"""Heads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.errors import InputError
from cl_prompts.models.heads import CosineHead


def test_cosine_head_is_the_cosine() -> None:
    head, features = CosineHead(6, 4, tau=0.2), torch.randn(3, 6)
    want = torch.stack([F.cosine_similarity(features, row[None]) for row in head.weight], dim=1)
    torch.testing.assert_close(head(features), want / 0.2)
    torch.testing.assert_close(head(7 * features), head(features))
    assert head.weight.abs().max() <= 6**-0.5
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert list(head.state_dict()) == ["weight"]


def test_cosine_head_learns_its_factor() -> None:
    head, features = CosineHead(6, 4, tau=None), torch.randn(3, 6)
    assert head(features).abs().max() <= 1
    head(features).square().sum().backward()
    assert head.sigma.grad is not None
    assert head.sigma.grad > 0
    assert set(head.state_dict()) == {"weight", "sigma"}


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="tau is 0: it must be positive"):
        CosineHead(6, 4, tau=0)
    with pytest.raises(InputError, match="n_classes must be a whole number of at least 1"):
        CosineHead(6, 0)
