"""Whitened head: statistics cover the whole stream and change only in training."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cl_prompts.closed_form import FeatureWhitening
from cl_prompts.closed_form.whitening import HeadInput, inverse_root

DIM = 8
every = pytest.mark.parametrize("kind", get_args(HeadInput))


def features(n: int = 60, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(7))
    return torch.randn(n, DIM, generator=generator) @ mixing + 10


def fed(kind: HeadInput, x: Tensor, cuts: list[int], **settings: float) -> FeatureWhitening:
    whitening = FeatureWhitening(DIM, kind, **settings)
    for part in x.tensor_split(cuts):
        whitening.update(part)
    return whitening


def test_the_formulas() -> None:
    x = features().double()
    mean = x.mean(dim=0)
    covariance = x.T.cov(correction=0)
    centred = (x - mean).float()
    torch.testing.assert_close(fed("centred", x, [])(x), centred)
    scaled = (x - mean) / (covariance.diagonal() + 1e-5).sqrt()
    torch.testing.assert_close(fed("standardised", x, [])(x), scaled.float())
    system = covariance + 0.5 * covariance.diagonal().mean() * torch.eye(DIM)
    values, vectors = torch.linalg.eigh(system)
    root = vectors @ torch.diag(values**-0.5) @ vectors.T
    torch.testing.assert_close(
        fed("whitened", x, [], shrinkage=0.5)(x), ((x - mean) @ root).float(), atol=1e-5, rtol=1e-5
    )


@every
@given(cuts=st.lists(st.integers(0, 60), max_size=8))
@settings(max_examples=20)
def test_chunks_are_one_pass(kind: HeadInput, cuts: list[int]) -> None:
    x = features()
    whole = fed(kind, x, [])
    parts = fed(kind, x, sorted(cuts), refresh=1)
    for name, values in whole.named_buffers():
        torch.testing.assert_close(dict(parts.named_buffers())[name], values, atol=1e-6, rtol=1e-6)


@every
def test_untouched_before_the_first_update(kind: HeadInput) -> None:
    x = features()
    whitening = FeatureWhitening(DIM, kind)
    assert torch.equal(whitening(x), x)
    whitening.update(x[:0])
    assert torch.equal(whitening(x), x)
    whitening.update(x[:1])  # a single sample has no variance
    assert whitening(x).isfinite().all()


def test_the_root_is_renewed_on_schedule() -> None:
    whitening = FeatureWhitening(DIM, "whitened", refresh=5)
    renewed = []
    for batch in range(1, 13):
        before = whitening.root.clone()
        x = features(10, seed=batch)
        whitening.update(x)
        if not torch.equal(whitening.root, before):
            renewed.append(batch)
        after = whitening.root.clone()
        whitening.update(x, repeated=True)
        assert torch.equal(whitening.root, after)
    assert renewed == [1, 2, 4, 5, 10]
    assert float(whitening.count) == 240


def test_the_next_pass_takes_its_features_in_once() -> None:
    x = features()
    want = fed("whitened", x[:40], [])
    whitening = FeatureWhitening(DIM, "whitened")
    with whitening.update_statistics(40):
        first = whitening(x)
        assert torch.equal(whitening(x), first)
    assert torch.equal(first, want(x))
    assert (float(whitening.count), whitening.batches) == (40, 1)
    with whitening.update_statistics(repeated=True):
        pass  # no pass, and none is due afterwards
    whitening(x)
    assert float(whitening.count) == 40
    with whitening.update_statistics(repeated=True):
        whitening(x)
    assert (float(whitening.count), whitening.batches) == (100, 1)


def test_gradient_goes_to_features_alone() -> None:
    whitening = fed("whitened", features(), [30])
    x = features(4, seed=2).requires_grad_()
    out = whitening(x)
    whitening.update(features(30, seed=3))
    whitening.update(x)
    out.sum().backward()
    assert x.grad.abs().sum() > 0
    assert not any(values.requires_grad for values in whitening.buffers())


@pytest.mark.parametrize("kind", ["centred", "standardised", "whitened"])
def test_a_window_forgets(kind: HeadInput) -> None:
    old = features(500)
    new = features(2000, seed=1) - 50
    kept = fed(kind, old, [])
    windowed = fed(kind, old, [], window=100, refresh=1)
    for part in new.split(20):
        kept.update(part)
        windowed.update(part)
    assert float(windowed.count) == 100
    wanted = new.mean(dim=0)
    assert (windowed.mean - wanted).abs().max() < (kept.mean - wanted).abs().max() / 5


@pytest.mark.parametrize("shrinkage", [1.0, 0.1, 1e-3])
def test_the_root_is_symmetric_and_inverts_its_square(shrinkage: float) -> None:
    x = features(300) * torch.logspace(0, -2, DIM)
    matrix = fed("whitened", x, [], shrinkage=shrinkage).system()
    root = inverse_root(matrix)
    torch.testing.assert_close(root, root.T)
    torch.testing.assert_close(root @ matrix @ root, torch.eye(DIM).double(), atol=1e-8, rtol=1e-8)
