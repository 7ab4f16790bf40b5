"""Regularised discriminant analysis beside a brute-force evaluation of its densities."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from cl_prompts.closed_form import PooledRidge, RegularisedDiscriminant, StreamingLDA
from tests.models.classifier_data import CLASSES, DIM, data, fed

CUTS = list(range(3, 150, 11))


def densities(x: np.ndarray, y: np.ndarray, at: np.ndarray, b: float) -> np.ndarray:
    """(n, classes) log densities under brute-force covariances, -inf for a class not seen."""
    own = {c: np.cov(x[y == c].T, bias=True) for c in np.unique(y)}
    pooled = sum((y == c).sum() * covariance for c, covariance in own.items()) / len(x)
    shared = pooled + b * np.trace(pooled) / x.shape[1] * np.eye(x.shape[1])
    found = np.full((len(at), CLASSES), -np.inf)
    for c, covariance in own.items():
        weight = (y == c).sum() / x.shape[1]
        normal = multivariate_normal(x[y == c].mean(axis=0), shared + weight * covariance)
        found[:, c] = normal.logpdf(at)
    return found


@pytest.mark.parametrize("rank", [DIM, 60])
def test_scores_are_the_log_densities(rank: int) -> None:
    x, y = data()
    rda = RegularisedDiscriminant(DIM, CLASSES, rank=rank, ridge=0.1)
    fed(rda, x, y, CUTS)
    at = torch.randn(20, DIM).double()
    want = densities(x.double().numpy(), y.numpy(), at.numpy(), 0.1)
    want -= want.max(axis=1, keepdims=True)
    scores = rda.scores(at).numpy()
    seen = np.isfinite(want)
    np.testing.assert_allclose(scores[seen], want[seen], rtol=0, atol=1e-9)
    assert np.isneginf(scores[~seen]).all()
    # Exact sketches do not depend on order.
    order = torch.randperm(len(x))
    again = RegularisedDiscriminant(DIM, CLASSES, rank=rank, ridge=0.1)
    again = fed(again, x[order], y[order], [70])
    torch.testing.assert_close(again.scores(at), rda.scores(at), atol=1e-9, rtol=1e-9)


def test_rank_zero_is_linear_discriminant_analysis() -> None:
    x, y = data()
    rda = fed(RegularisedDiscriminant(DIM, CLASSES, rank=0, ridge=0.2), x, y, CUTS)
    lda = fed(StreamingLDA(DIM, CLASSES, shrinkage=0.2, shrinkage_form="relative"), x, y, CUTS)
    at = torch.randn(20, DIM)
    torch.testing.assert_close(rda.scores(at), lda.scores(at), atol=1e-9, rtol=1e-9)


def test_a_sketch_of_low_rank_lies_between_pooled_and_full_covariances() -> None:
    x, y = data()
    ends = [
        fed(RegularisedDiscriminant(DIM, CLASSES, rank=rank, ridge=0.1), x, y, CUTS).roots()
        for rank in (2, DIM)
    ]
    low, full = (rows.mT @ rows for rows in ends)
    values = torch.linalg.eigvalsh(full - low)
    assert values.min() > -1e-9
    assert (low.diagonal(dim1=1, dim2=2).sum(dim=1) > 0).sum() == len(y.unique())


def test_the_ridge_is_that_of_the_balanced_ridge() -> None:
    x, y = data()
    rda = fed(RegularisedDiscriminant(DIM, CLASSES), x, y, CUTS)
    ridge = fed(PooledRidge(DIM, CLASSES), x, y, CUTS)
    for classifier in (rda, ridge):
        classifier.logits(x)
    assert torch.equal(rda.ridge, ridge.ridge)


def test_merged_sketches_are_those_of_one_run_while_they_are_exact() -> None:
    x, y = data()
    whole = fed(RegularisedDiscriminant(DIM, CLASSES, rank=DIM), x, y, CUTS)
    merged = RegularisedDiscriminant(DIM, CLASSES, rank=DIM)
    for part in (slice(0, 9), slice(9, 80), slice(80, 150)):
        merged.add(fed(RegularisedDiscriminant(DIM, CLASSES, rank=DIM), x[part], y[part], []))
    at = torch.randn(20, DIM)
    torch.testing.assert_close(merged.scores(at), whole.scores(at), atol=1e-9, rtol=1e-9)
