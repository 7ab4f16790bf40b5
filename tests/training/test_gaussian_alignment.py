"""Head alignment: draws, training, and the published head after it."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from cl_prompts.training.gaussian_alignment import GaussianHeadAlignment, GaussianStatistics
from tests.golden_numbers import Golden, put

GOLDEN = Golden("hide")
every = pytest.mark.parametrize("statistics", get_args(GaussianStatistics))


def data(n: int = 400, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    centres = 5 * torch.randn(classes, 4, generator=generator)
    mixing = torch.randn(4, 4, generator=generator)
    return centres[labels] + torch.randn(n, 4, generator=generator) @ mixing, labels


@pytest.mark.parametrize("case", ["align_covariance", "align_centroids"])
def test_published_head_after_alignment(case: str) -> None:
    weight = GOLDEN(f"{case}/head_weight0")
    n_classes, dim = weight.shape
    head = nn.Linear(dim, n_classes)
    put(head.weight, weight)
    put(head.bias, GOLDEN(f"{case}/head_bias0"))
    n_epochs = int(GOLDEN(f"{case}/epochs"))
    features = GOLDEN(f"{case}/sampled_features").unflatten(0, (n_epochs, -1))
    labels = GOLDEN(f"{case}/sampled_labels").unflatten(0, (n_epochs, -1))
    alignment = GaussianHeadAlignment(
        dim, n_classes, epochs=n_epochs, lr=GOLDEN.number(f"{case}/lr"), samples=labels.shape[2]
    )
    epochs = [list(zip(f, y, strict=True)) for f, y in zip(features, labels, strict=True)]
    alignment.fit(head, epochs, torch.arange(n_classes) <= labels.max())
    GOLDEN.close(head.weight, f"{case}/head_weight_after", atol=1e-4)
    GOLDEN.close(head.bias, f"{case}/head_bias_after", atol=1e-4)


@pytest.mark.parametrize(
    ("statistics", "mean", "spread"),
    [
        ("covariance", "align_covariance/means", "align_covariance/covariances"),
        ("centroids", "align_centroids/centroids", "align_centroids/variances"),
    ],
)
def test_published_draws_have_the_published_statistics(
    statistics: GaussianStatistics, mean: str, spread: str
) -> None:
    dim = GOLDEN(mean).shape[-1]
    means = GOLDEN(mean).view(len(GOLDEN(mean)), -1, dim)
    spreads = GOLDEN(spread)[:, None] if statistics == "covariance" else GOLDEN(spread)
    n_classes, n = means.shape[:2]
    alignment = GaussianHeadAlignment(
        dim, n_classes + 2, statistics=statistics, n_centroids=n, samples=4000
    )
    alignment.count[:n_classes] = 1
    alignment.mean[:n_classes] = means
    alignment.spread[:n_classes] = spreads
    drawn = alignment.draw(n * n_classes)
    features, labels = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    for c in range(n_classes):
        mine = features[labels == c]
        assert len(mine) == 4000 * n
        assert (mine.mean(dim=0) - means[c].mean(dim=0)).abs().max() < 0.1
        if statistics == "covariance":
            want = spreads[c, 0]
            assert (mine.T.cov() - want).norm() < 0.1 * want.norm()
        else:
            # Each centroid as often: within clusters, and between their centres.
            want = spreads[c].mean(dim=0) + means[c].var(dim=0, correction=0)
            torch.testing.assert_close(mine.var(dim=0), want, rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("statistics", ["covariance", "variance"])
def test_pieces_are_one_pass(statistics: GaussianStatistics) -> None:
    x, y = data()
    whole, pieces = (GaussianHeadAlignment(4, 5, statistics=statistics) for _ in range(2))
    whole.observe(x, y)
    for part in torch.randperm(400, generator=torch.Generator().manual_seed(1)).split(33):
        pieces.observe(x[part], y[part])
    for name, values in whole.named_buffers():
        torch.testing.assert_close(pieces.get_buffer(name), values, atol=1e-3, rtol=1e-4)
    real = x[y == 1]
    covariance = (whole.spread / whole.count.view(5, 1, *[1] * (whole.spread.dim() - 2)))[1, 0]
    want = real.T.cov(correction=0)
    torch.testing.assert_close(
        covariance, want if statistics == "covariance" else want.diagonal(), atol=1e-4, rtol=1e-4
    )


def test_clusters_without_variance_are_left_out() -> None:
    x = torch.cat([torch.full((5, 4), 50.0), data()[0][:20]])
    alignment = GaussianHeadAlignment(4, 2, n_centroids=4, samples=50)
    alignment.observe(x, torch.zeros(25, dtype=torch.int64))
    features = torch.cat([features for features, _ in alignment.draw(4)])
    assert features.max() < 30
    few = GaussianHeadAlignment(4, 2, n_centroids=4)
    few.observe(x[5:], torch.zeros(20, dtype=torch.int64))  # replaced by what follows
    few.observe(x[-2:], torch.zeros(2, dtype=torch.int64))  # fewer samples than centroids
    assert int((few.count > 0).sum()) == 2
    one = GaussianHeadAlignment(4, 2, statistics="variance", unbiased=True)
    one.observe(x[-1:], torch.zeros(1, dtype=torch.int64))
    assert one.draw()[0][0].isfinite().all()


@every
def test_alignment_makes_rows_of_different_tasks_comparable(statistics: GaussianStatistics) -> None:
    x, y = data()
    alignment = GaussianHeadAlignment(
        4, 5, statistics=statistics, n_centroids=2, samples=60, lr=0.05, weight_decay=0.0
    )
    alignment.observe(x, y)
    head = nn.Linear(4, 5)
    put(head.bias, torch.tensor([9.0, 0.0, 0.0, 20.0, 0.0]))  # the last task shouts; 3 is unseen
    before = head.weight.detach().clone()
    alignment.align(head)
    predicted = head(x)[:, :3].argmax(dim=1)
    assert (predicted == y).float().mean() > 0.9
    assert torch.equal(head.weight[3:], before[3:])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_rates_fall_along_a_cosine(optimizer: str) -> None:
    alignment = GaussianHeadAlignment(
        4,
        5,
        optimizer=optimizer,
        epochs=4,
        lr=0.1,
    )
    rates = [alignment._rate(epoch, i / 5) for epoch in range(4) for i in range(5)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(0.05, abs=1e-6)
    assert len(set(rates)) == (4 if optimizer == "sgd" else 20)


@pytest.mark.parametrize("statistics", ["variance", "covariance"])
def test_statistics_of_chosen_rows_and_known_classes_are_those_of_the_rows_alone(
    statistics: Any,
) -> None:
    x = torch.randn(40, 5)
    y = torch.arange(40) % 3
    rows = torch.rand(40) < 0.6
    rows[y == 1] = False
    alone, chosen = (GaussianHeadAlignment(5, 4, statistics=statistics) for _ in range(2))
    for part in (slice(25), slice(25, None)):
        alone.observe(x[part][rows[part]], y[part][rows[part]])
        chosen.observe(x[part], y[part], rows=rows[part], classes=[0, 1, 2])
    assert alone.observed.tolist() == [True, False, True, False]
    for name in ("count", "mean", "spread"):
        torch.testing.assert_close(getattr(chosen, name), getattr(alone, name))
