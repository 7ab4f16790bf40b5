"""Who gets which prompt: the query, and the nearest keys."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.prompts.selectors import NearestKeys, unit_rows


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
        found.append((unit, x.grad))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
