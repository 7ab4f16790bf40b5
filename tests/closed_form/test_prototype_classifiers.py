"""Prototype classifiers: streaming gives the batch solution."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from cl_prompts.closed_form import NearestClassMean, PrototypeClassifier, RanPAC, StreamingLDA
from cl_prompts.closed_form.ridge import attempt_positive
from cl_prompts.errors import RunError
from cl_prompts.models.base import finite
from tests.models.classifier_data import CLASSES, DIM, SUMS, columns, data, fed


def held_out() -> RanPAC:
    return RanPAC(DIM, CLASSES, projection=40, ridge=3.0, held_out=20, seed=4)


def test_nearest_class_mean_is_the_nearest_centroid() -> None:
    x, y = data()
    probe = data(60, seed=1)[0]
    model = fed(NearestClassMean(DIM, CLASSES, metric="euclidean"), x, y, [10, 90])
    oracle = NearestCentroid().fit(x.numpy(), y.numpy())
    assert model.logits(probe).argmax(1).tolist() == oracle.predict(probe.numpy()).tolist()
    means = np.stack([x[y == c].double().mean(0).numpy() for c in (0, 1, 2, 4)])
    distance = ((probe.double().numpy()[:, None] - means) ** 2).sum(-1)
    nearest = distance.min(axis=1, keepdims=True)
    assert np.allclose(columns(model.logits(probe)), nearest - distance, atol=1e-4)
    # Far from all means, too, seen classes lie above what stands for unseen ones.
    assert torch.equal(
        finite(model.logits(99 * probe)).argmax(1), model.logits(99 * probe).argmax(1)
    )
    cosine = columns(fed(NearestClassMean(DIM, CLASSES), x, y, [10, 90]).logits(probe))
    unit = probe.double().numpy() / np.linalg.norm(probe.double().numpy(), axis=1, keepdims=True)
    assert np.allclose(
        cosine, unit @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T, atol=1e-5
    )


def test_streaming_lda_is_the_batch_solution() -> None:
    x, y = data()
    probe = data(60, seed=1)[0]
    rows = x.double().numpy()
    labels = y.numpy()
    means = np.stack([rows[labels == c].mean(0) for c in (0, 1, 2, 4)])
    inside = np.concatenate(
        [rows[labels == c] - m for c, m in zip((0, 1, 2, 4), means, strict=True)]
    )
    precision = np.linalg.inv((1 - 1e-4) * inside.T @ inside / len(rows) + 1e-4 * np.eye(DIM))
    scores = (
        probe.double().numpy() @ precision @ means.T
        - np.einsum("cd,de,ce->c", means, precision, means) / 2
    )
    scores -= scores.max(axis=1, keepdims=True)  # relative to the best seen class
    model = fed(StreamingLDA(DIM, CLASSES), x, y, list(range(1, 150, 7)))
    assert np.allclose(columns(model.logits(probe)), scores, rtol=1e-5, atol=1e-4)
    assert (model.logits(x).argmax(1) == y).float().mean() > (
        fed(NearestClassMean(DIM, CLASSES, metric="euclidean"), x, y, []).logits(x).argmax(1) == y
    ).float().mean()


def test_lda_keeps_small_differences_between_large_scores() -> None:
    x, y = data()
    x = 30 * x
    model = fed(StreamingLDA(DIM, CLASSES, shrinkage=1e-6), x, y, [])
    exact = model._scores(x.double())  # some of these are tens of thousands
    model.mean.neg_()
    together = model.logits(x)
    alone = torch.cat([model.logits(row[None]) for row in x])
    model.mean.neg_()
    assert (model.logits(x)[:, [0, 1, 2, 4]].amax(dim=1) == 0).all()
    near = exact > -1
    torch.testing.assert_close(model.logits(x)[near].double(), exact[near], atol=1e-6, rtol=0)
    torch.testing.assert_close(alone, together, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [*SUMS.values(), held_out], ids=[*SUMS, "held_out"])
def test_state_round_trip_continues_identically(make: Callable[[], PrototypeClassifier]) -> None:
    x, y = data()
    probe = data(20, seed=1)[0]
    model = fed(make(), x[:60], y[:60], [20])
    twin = make()
    twin.logits(probe)  # a solution that loading must throw away
    twin.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(twin.logits(probe), model.logits(probe))
    for m in (model, twin):
        fed(m, x[60:], y[60:], [10, 50])
    assert torch.equal(twin.logits(probe), model.logits(probe))
    for name, value in model.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name


def test_a_failed_solve_is_refused() -> None:
    lda = StreamingLDA(3, n_classes=2, shrinkage=1e-4)
    lda.update(torch.randn(6, 3), torch.tensor([0, 1] * 3))
    good = lda(torch.randn(2, 3))
    lda.scatter.diagonal().sub_(1e3)
    lda.weight = None
    with pytest.raises(RunError, match=r"StreamingLDA could not .* the shrinkage 0.0001 is too"):
        lda.logits(torch.randn(2, 3))
    solution, info = attempt_positive(-torch.eye(3), torch.ones(3, 2))
    assert solution.isnan().all()
    assert int(info) > 0
    assert good.isfinite().all()
