"""From features to scores: head, learned masks, the mask of unseen classes."""

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.models.heads import CosineHead, UnitRowHead
from cl_prompts.models.prompted import InstanceLogitMask
from cl_prompts.prompts.selectors import Selection


def selection(index: list[list[int]], size: int = 3) -> Selection:
    return Selection(torch.tensor(index), torch.zeros(len(index), size), torch.ones(size))


def test_a_mask_of_one_prompt_is_its_sigmoid() -> None:
    mask = InstanceLogitMask(3, 4)
    torch.testing.assert_close(
        mask(selection([[1]])), torch.full((1, 4), 0.537883), atol=1e-6, rtol=0
    )
    with torch.no_grad():
        mask.values.normal_()
    torch.testing.assert_close(mask(selection([[2], [0]])), 2 * mask.values[[2, 0]].sigmoid())


def test_several_prompts_are_averaged_before_the_sigmoid() -> None:
    mask = InstanceLogitMask(3, 2)
    with torch.no_grad():
        mask.values.copy_(torch.tensor([[4.0, -1.0], [0.0, 2.0], [9.0, 9.0]]))
    want = 2 * torch.tensor([[(4.0 + 0.0) / 2, (-1.0 + 2.0) / 2]]).sigmoid()
    torch.testing.assert_close(mask(selection([[0, 1]])), want)
    after = mask.values[[0, 1]].sigmoid().mean(dim=0) * 2
    assert (after - want).abs().max() > 0.05  # which is not the mean of two masks


def test_cosine_head_is_the_cosine() -> None:
    head = CosineHead(6, 4, tau=0.2)
    features = torch.randn(3, 6)
    want = torch.stack([F.cosine_similarity(features, row[None]) for row in head.weight], dim=1)
    torch.testing.assert_close(head(features), want / 0.2)
    torch.testing.assert_close(head(7 * features), head(features))
    assert head.weight.abs().max() <= 6**-0.5
    assert list(head.state_dict()) == ["weight"]


def test_cosine_head_learns_its_factor() -> None:
    head = CosineHead(6, 4, tau=None)
    features = torch.randn(3, 6)
    assert head(features).abs().max() <= 1
    head(features).square().sum().backward()
    assert head.sigma.grad is not None
    assert head.sigma.grad > 0
    assert set(head.state_dict()) == {"weight", "sigma"}


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
