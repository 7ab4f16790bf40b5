"""Ridge regression on random projections."""

import pytest
import torch
from sklearn.linear_model import Ridge

from cl_prompts.backbones.mac_counter import MACCounter
from cl_prompts.closed_form import ridge
from cl_prompts.closed_form.ranpac import RanPAC
from cl_prompts.errors import RunError
from tests.models.classifier_data import CLASSES, DIM, data, fed


def test_ranpac_chooses_the_ridge_of_least_held_out_error() -> None:
    x, y = data(200)
    model = RanPAC(DIM, CLASSES, projection=40, held_out=30, seed=1)
    fed(model, x, y, list(range(0, 200, 9)))
    kept = {tuple(row) for row in model.held.features.float().tolist()}
    inside = torch.tensor([tuple(row) in kept for row in x.tolist()])
    assert int(inside.sum()) == 30
    matrix = model.statistics.expansion.matrix.double()
    hidden = torch.relu(x.double() @ matrix)
    onehot = torch.nn.functional.one_hot(y, CLASSES).double()
    error = {}
    for alpha in (1e-2, 1e1, 1e3, 1e5, 1e8):
        oracle = Ridge(alpha=alpha, fit_intercept=False).fit(
            hidden[~inside].numpy(), onehot[~inside].numpy()
        )
        error[alpha] = (
            (oracle.predict(hidden[inside].numpy()) - onehot[inside].numpy()) ** 2
        ).mean()
    gram = model.statistics.gram.clone()
    model.logits(x)  # a solution that the choice must throw away
    best = model.choose_ridge(tuple(error))
    assert best == min(error, key=error.__getitem__) == float(model.ridge)
    assert 1e-2 < best < 1e8
    # The held-out samples stay part of the solution.
    assert torch.equal(model.statistics.gram, gram)
    fixed = fed(RanPAC(DIM, CLASSES, projection=40, ridge=best, seed=1), x, y, [])
    torch.testing.assert_close(model.logits(x), fixed.logits(x), rtol=1e-5, atol=1e-5)
    assert model.choose_ridge() in [10.0**k for k in range(-8, 9)]


def test_a_ridge_too_small_for_the_precision_says_so() -> None:
    tiny = RanPAC(3, 2, projection=50, ridge=1e-30).float()
    tiny.update(torch.full((4, 3), 1e3), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(RunError, match="the ridge 1e-30 is too small"):
        tiny.logits(torch.zeros(1, 3))


def test_a_wide_ridge_of_few_images_costs_a_small_system(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(60)
    chosen, scores, macs = {}, {}, {}
    for wide in (100, 10_000):
        monkeypatch.setattr(ridge, "WIDE", wide)
        model = RanPAC(DIM, CLASSES, projection=800, held_out=20, seed=1)
        fed(model, x, y, [20, 41])
        with MACCounter() as counter:
            chosen[wide] = model.choose_ridge()
            scores[wide] = model.logits(x)
        macs[wide] = counter.macs
    assert chosen[100] == chosen[10_000]
    torch.testing.assert_close(scores[100], scores[10_000], rtol=1e-6, atol=1e-6)
    assert macs[100] < macs[10_000] / 40


def test_a_wide_ridge_of_many_images_is_solved_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    gram = torch.randn(300, 80, dtype=torch.float64)
    gram = gram.T @ gram
    monkeypatch.setattr(ridge, "WIDE", 40)
    assert ridge.low_rank(gram) is None
    hidden = gram.clone()
    hidden[:10] = hidden[:, :10] = 0  # the corner does not show the rank
    assert ridge.low_rank(hidden) is None


def test_a_held_out_sample_of_the_whole_stream_keeps_a_wide_ridge() -> None:
    x, y = data(20)
    model = RanPAC(DIM, CLASSES, projection=ridge.WIDE, ridge=7.0, held_out=30)
    fed(model, x, y, [])
    assert model.choose_ridge() == 7.0 == float(model.ridge)
