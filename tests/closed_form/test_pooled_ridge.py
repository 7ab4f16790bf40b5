"""Balanced ridge: literal sums, equal class weights, and a ridge computed from the data."""

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import MultivariateNormal

from cl_prompts.closed_form.pooled_ridge import PooledRidge, balanced_size, balanced_system
from cl_prompts.closed_form.shrinkage import CANDIDATES, ridge_by_evidence
from tests.models.classifier_data import CLASSES, DIM, data, fed

CUTS = list(range(3, 150, 11))


def test_the_literal_formula_in_any_order_and_batches() -> None:
    x, y = data()
    pooled = fed(PooledRidge(DIM, CLASSES, ridge=0.3), x, y, CUTS)
    inputs = F.pad(x.double(), (0, 1), value=1.0)
    means = {int(c): inputs[y == c].mean(dim=0) for c in y.unique()}
    k = len(means)
    between = sum((y == c).sum() * torch.outer(mu, mu) for c, mu in means.items())
    within = inputs.T @ inputs - between
    a = within / len(x) + sum(torch.outer(mu, mu) for mu in means.values()) / k
    b = torch.stack([means.get(c, torch.zeros(DIM + 1)) / k for c in range(CLASSES)], dim=1)
    want = torch.linalg.solve(a + 0.3 * a.diagonal().mean() * torch.eye(len(a)).double(), b)
    torch.testing.assert_close(pooled.solution(), want, atol=1e-9, rtol=0)
    shuffled = torch.randperm(len(x))
    again = fed(PooledRidge(DIM, CLASSES, ridge=0.3), x[shuffled], y[shuffled], [70])
    torch.testing.assert_close(again.solution(), want, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("counts", "size"),
    [([0, 0, 0], 1.0), ([7, 0, 7], 14.0), ([1, 0, 100], 20.0), ([2, 4, 8], 12.0)],
)
def test_the_ridge_is_found_for_a_stream_of_as_many_balanced_samples(
    counts: list[int], size: float
) -> None:
    y = torch.arange(3).repeat_interleave(torch.tensor(counts))
    pooled = fed(PooledRidge(DIM, 3), torch.randn(len(y), DIM), y, [])
    assert float(balanced_size(pooled.count)) == pytest.approx(size)
    if len(y):
        a, b = balanced_system(pooled)
        n = torch.tensor(size).double()
        pooled.solution()
        assert torch.equal(pooled.ridge, ridge_by_evidence(a, b, a.new_ones(()), n))


@pytest.mark.parametrize("n", [20, 60, 400])
def test_evidence_is_the_density_of_the_labels_without_the_weights(n: int) -> None:
    x = torch.randn(n, 30).double()
    y = x[:, :2] + torch.randn(n, 2)
    a, b = x.T @ x / n, x.T @ y / n
    scale = float(a.diagonal().mean())
    densities = {}
    for relative in CANDIDATES:
        # y ~ normal(0, v (I + x x' / (n r))) in each column, at the likeliest v
        covariance = torch.eye(n).double() + x @ x.T / (n * relative * scale)
        variance = float((y * torch.linalg.solve(covariance, y)).sum() / y.numel())
        labels = MultivariateNormal(torch.zeros(n).double(), variance * covariance)
        densities[relative] = float(labels.log_prob(y.T).sum())
    found = ridge_by_evidence(a, b, y.square().sum() / n, torch.tensor(float(n)).double())
    assert float(found) / scale == pytest.approx(max(densities, key=densities.__getitem__))
