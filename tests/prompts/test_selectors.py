"""Who gets which prompt: the query, and the nearest keys."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.prompts.selectors import ClassTokenQuery, NearestKeys, unit_rows
from tests.toy_vits import tiny_vit


def nearest(query: Tensor, key: Tensor, k: int) -> Tensor:
    """Literal top-k by cosine, for scores without ties."""
    return F.cosine_similarity(query[:, None], key[None], dim=-1).topk(k).indices


@pytest.fixture
def keys() -> NearestKeys:
    torch.manual_seed(0)
    return NearestKeys(8, 16, k=2)


@pytest.fixture
def query() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(10, 16)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("skip_last", [True, False])
def test_the_query_is_a_class_token_of_the_plain_vit(skip_last: bool, norm: bool) -> None:
    backbone = tiny_vit()
    images = torch.rand(3, 3, 16, 16)
    query = ClassTokenQuery(skip_last=skip_last, norm=norm)(backbone, backbone.embed(images))
    tokens = backbone.embed(images)
    for block in backbone.vit.blocks[: 3 if skip_last else 4]:
        tokens = block(tokens)
    want = (backbone.vit.norm(tokens) if norm else tokens)[:, 0]
    torch.testing.assert_close(query, want, atol=1e-5, rtol=0)
    assert not query.requires_grad


def test_match_is_the_sum_over_chosen_rows_averaged_over_the_batch(
    keys: NearestKeys, query: Tensor
) -> None:
    selection = keys(query)
    assert torch.equal(selection.index, nearest(query, keys.key, 2))
    literal = sum(
        F.cosine_similarity(q, keys.key[j], dim=0)
        for q, row in zip(query, selection.index, strict=True)
        for j in row
    )
    torch.testing.assert_close(selection.match, literal / 10)
    (-selection.match).backward()  # lowering the loss raises the similarity
    assert keys.key.grad is not None
    with torch.no_grad():
        keys.key -= 0.1 * keys.key.grad
    assert keys(query).match > selection.match
    untouched = sorted(set(range(8)) - set(selection.index.flatten().tolist()))
    assert (keys.key.grad[untouched] == 0).all()


def test_count_scaling_prefers_rare_prompts_and_equal_counts_change_nothing() -> None:
    selector = NearestKeys(3, 4, count_scaled=True)
    query = torch.randn(20, 4)
    plain = selector(query).index
    selector.count[:] = 7
    assert torch.equal(selector(query).index, plain)
    selector.count[:] = torch.tensor([0.0, 1e6, 1e6])
    assert (selector(query).index == 0).all()
    selector.observe(selector(query))
    assert selector.count.tolist() == [20, 1e6, 1e6]


def test_unit_rows_are_normalize_with_its_gradient() -> None:
    rows = torch.randn(4, 6)
    rows[1] = 0
    found = []
    for function in (unit_rows, torch.nn.functional.normalize):
        x = rows.clone().requires_grad_()
        unit = function(x)
        unit.backward(torch.arange(24.0).view(4, 6))
        assert x.grad is not None
        found.append((unit, x.grad))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
