"""The multi-label ridge and L3A: closed forms, published numbers, what pseudo-labels may touch."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.metrics.multi_label import average_precision


def data(n: int = 90) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 6, generator=generator)
    noise = torch.randn(n, 4, generator=generator)
    return x + 1, (x[:, :4] + 0.5 * noise > 0.4).long()


def test_it_is_the_ridge_with_zeros_for_what_is_not_annotated() -> None:
    x, y = data()
    model = MultiLabelRidge(6, 4, ridge=3.0)
    first = torch.tensor([True, True, False, False])
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    for part in order.split(11):
        known = (part < 45)[:, None] == first  # the first half is annotated for classes 0, 1
        model.update(x[part], y[part].double().masked_fill(~known, torch.nan), known)
    h = np.concatenate([x.double().numpy(), np.ones((90, 1))], axis=1)
    targets = y.double().numpy()
    targets[:45, 2:] = 0
    targets[45:, :2] = 0
    want = h @ np.linalg.solve(h.T @ h + 3 * np.eye(7), h.T @ targets)
    assert np.allclose(model(x).numpy(), want, atol=1e-6)
    assert model(x).dtype == torch.float32


def test_a_class_that_was_never_met_has_no_pseudo_labels() -> None:
    x, y = data()
    model = MultiLabelRidge(6, 4, pseudo=0.4)  # sigmoid(0) of a class without a solution exceeds it
    model.update(x, y * torch.tensor([1, 0, 0, 0]), torch.tensor([True, False, False, False]))
    model.settle()
    none = torch.zeros(4, dtype=torch.bool)
    assert model.targets(model.statistics.inputs(x), y, none).any(dim=0).tolist() == [
        True,
        *none[1:],
    ]


def test_a_sample_weighs_as_its_positives() -> None:
    x, y = data()
    model = MultiLabelRidge(6, 4, weights="sqrt")
    model.update(x, y)
    v = model.class_weights()
    both = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).double()
    assert model.sample_weights(both).tolist() == pytest.approx([float(v[:2].mean()), 0])
    gram = model.statistics.gram.clone()
    model.update(x, torch.zeros_like(y))  # images without a positive are left out
    assert torch.equal(model.statistics.gram, gram)


def minus_map(scores: Tensor, targets: Tensor) -> float:
    return -float(average_precision(scores, targets).nanmean())


def test_class_weights_have_mean_1_over_the_classes_met() -> None:
    ridge = MultiLabelRidge(3, 4, weights="sqrt")
    labels = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 1]])
    # Class 2 is met without an image that shows it; class 3 is not annotated.
    ridge.count_labels(labels, torch.tensor([True, True, True, False]))
    u = torch.tensor([2**-0.5, 1, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(ridge.class_weights(), 3 * u / u.sum())


def test_the_ridge_of_the_best_held_out_precision() -> None:
    x, y = data()
    model = MultiLabelRidge(6, 4, held_out=30, seed=1)
    model.update(x, y)
    held = {tuple(row) for row in model.held.features[:, :-1].float().tolist()}
    inside = torch.tensor([tuple(row) in held for row in x.tolist()])
    assert int(inside.sum()) == 30
    best = model.choose_ridge((1.0, 100.0, 1e4), minus_map)
    precision = {}
    for ridge in (1.0, 100.0, 1e4):
        rest = MultiLabelRidge(6, 4, ridge=ridge)
        rest.update(x[~inside], y[~inside])
        precision[ridge] = average_precision_score(y[inside], rest(x[inside]))
    assert best == max(precision, key=precision.__getitem__) == model.ridge.item()
