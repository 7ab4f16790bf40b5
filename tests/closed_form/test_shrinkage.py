"""Shrinkage found from data: published numbers, scikit-learn's, and what uses it."""

import pytest
import torch

from cl_prompts.closed_form.shrinkage import LEAST_OAS, oas, shrunk
from tests.golden_numbers import Golden

GOLDEN = Golden("randumb", "later")


def test_published_numbers() -> None:
    x, labels = GOLDEN("features"), GOLDEN("labels")
    embedded = torch.cos(x @ GOLDEN("frequencies") + GOLDEN("phases"))
    embedded *= (2 / embedded.shape[1]) ** 0.5
    inside = embedded - GOLDEN("pooled/means")[labels]
    covariance = inside.T @ inside / len(x)
    rho = oas(len(covariance), len(x), covariance.trace(), covariance.square().sum())
    GOLDEN.close_double(rho, "pooled/oas_shrinkage")
    n = torch.tensor(float(len(x)))
    GOLDEN.close_double(shrunk(n * covariance, n, "oas"), "pooled/covariance")


def test_its_ends() -> None:
    identity = 3 * torch.eye(4)
    assert oas(4, 10**9, identity.trace(), identity.square().sum()) == 1
    uneven = torch.diag(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert oas(4, 1, uneven.trace(), uneven.square().sum()) == 1
    assert oas(4, 10**9, uneven.trace(), uneven.square().sum()) == pytest.approx(LEAST_OAS)
    assert torch.equal(shrunk(torch.zeros(4, 4), torch.tensor(1.0), "oas"), torch.eye(4))
