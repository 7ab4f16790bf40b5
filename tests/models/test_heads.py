"""From features to scores: head, learned masks, the mask of unseen classes."""

import pytest
import torch

from cl_prompts.models.heads import CosineHead, UnitRowHead


def test_the_rows_of_a_cosine_head_begin_uniform_or_small() -> None:
    torch.manual_seed(0)
    uniform = CosineHead(400, 20)
    small = CosineHead(400, 20, initial="small")
    assert uniform.weight.abs().max() <= 0.05 < uniform.weight.abs().max() * 1.01
    assert small.weight.std().item() == pytest.approx(0.02, rel=0.03)


def test_a_head_of_unit_rows_norms_features_and_rows() -> None:
    head = UnitRowHead(6, 4)
    features = 3 * torch.randn(5, 6) + 1
    centred = features - features.mean(dim=1, keepdim=True)
    normed = centred / features.var(dim=1, unbiased=False, keepdim=True).add(1e-5).sqrt()
    rows = head.weight / head.weight.norm(dim=1, keepdim=True)
    torch.testing.assert_close(head(features), normed @ rows.T)
    assert [name for name, _ in head.named_parameters()] == ["weight"]
