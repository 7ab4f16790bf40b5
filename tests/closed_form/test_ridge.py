"""One ridge regression for all: literal solutions, published numbers, and what must not matter."""

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from cl_prompts.closed_form.ridge import RandomExpansion, RidgeStatistics, mean_squared_error


def data(n: int = 80) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 6, generator=generator) + 1
    y = torch.randn(n, 3, generator=generator) + x[:, :3]
    return x, y, torch.rand(n, generator=generator)


def test_weights_and_intercept() -> None:
    x, y, weights = data()
    ridge = RidgeStatistics(6, 3, intercept=True)
    for part in torch.arange(len(x)).split(17):
        ridge.add(ridge.inputs(x[part]), y[part], weights[part])
    inputs = torch.cat([x, torch.ones(len(x), 1)], dim=1).numpy()
    oracle = Ridge(alpha=2.0, fit_intercept=False, solver="cholesky")
    oracle.fit(inputs.astype("float64"), y.double().numpy(), weights.numpy())
    want = torch.from_numpy(oracle.coef_).T
    torch.testing.assert_close(ridge.solve(2.0), want, atol=1e-9, rtol=1e-6)


def test_expansions() -> None:
    uniform = RandomExpansion(16, 500, "uniform", seed=1).matrix
    assert uniform.abs().max() <= 0.25
    assert uniform.std().item() == pytest.approx((1 / 48) ** 0.5, rel=0.05)
    normal = RandomExpansion(16, 500, seed=1)
    assert normal.matrix.std().item() == pytest.approx(1, rel=0.05)
    assert torch.equal(normal.matrix, RandomExpansion(16, 500, seed=1).matrix)
    x = torch.randn(4, 16)
    assert torch.equal(normal(x), (x @ normal.matrix).clamp(min=0))


def test_a_ridge_is_chosen_on_weighted_held_out_samples() -> None:
    x, y, weights = data(200)
    ridge = RidgeStatistics(6, 3)
    ridge.add(ridge.inputs(x), y, weights)
    gram = ridge.gram.clone()
    h, targets = ridge.inputs(x[:40]), y[:40].double()
    found: list[Tensor] = []

    def size(scores: Tensor, _: Tensor) -> float:
        found.append(scores)
        return float(scores.square().mean())

    candidates = (1e-3, 1e1, 1e3, 1e5)
    best = ridge.choose_ridge(h, targets, weights[:40], candidates, mean_squared_error)
    worst = ridge.choose_ridge(h, targets, weights[:40], candidates, size)
    assert worst == 1e5
    assert torch.equal(ridge.gram, gram)
    rest = RidgeStatistics(6, 3)
    rest.add(rest.inputs(x[40:]), y[40:], weights[40:])
    want = torch.stack([h @ rest.solve(r) for r in candidates])
    torch.testing.assert_close(torch.stack(found), want)
    assert best == candidates[int((want - targets).square().mean(dim=(1, 2)).argmin())]


def test_a_kernel_of_repeated_features_has_the_width_of_their_size() -> None:
    expansion = RandomExpansion(2, 4, "fourier")
    expansion.fit(torch.full((5, 2), 2.0))  # all distances are 0
    assert float(expansion.bandwidth) == 1 / 8
