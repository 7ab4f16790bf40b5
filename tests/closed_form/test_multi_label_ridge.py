"""The multi-label ridge and L3A: closed forms, published numbers, what pseudo-labels may touch."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.metrics.multi_label import average_precision
from tests.golden_numbers import Golden

GOLDEN = Golden("l3a")
L3A = {"expansion": "uniform", "width": 20, "pseudo": 0.7, "weights": "sqrt"}


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


def test_l3a_is_the_published_one() -> None:
    model = MultiLabelRidge(12, 8, ridge=GOLDEN.number("ridge"), **L3A)
    model.statistics.expansion.matrix = GOLDEN("projection")
    for task, (low, high) in enumerate([(0, 4), (4, 6), (6, 8)]):
        annotated = torch.zeros(8, dtype=torch.bool)
        annotated[low:high] = True
        batches = [f"task{task}/batch{i}" for i in range(3)]
        model.count_labels(torch.cat([GOLDEN(f"{b}/true_labels") for b in batches]), annotated)
        GOLDEN.close(model.count[:high], f"task{task}/counts", atol=0)
        GOLDEN.close(model.class_weights()[:high], f"task{task}/class_weights", atol=1e-9)
        for batch in batches:
            labels = GOLDEN(f"{batch}/true_labels")
            inputs = model.statistics.inputs(GOLDEN(f"{batch}/features"))
            got = model.targets(inputs, labels, annotated)
            # What is annotated alone, and beside it, once a task is done, pseudo-labels.
            GOLDEN.close(got * annotated, f"{batch}/targets", atol=0)
            if task:
                GOLDEN.close(got[:, :high], f"{batch}/targets_with_pseudo", atol=0)
            else:
                assert not got[:, ~annotated].any()
            model.update(GOLDEN(f"{batch}/features"), labels, annotated, counted=True)
        model.settle()
        for got, name in (
            (model.settled_weight[:, :high], "weight"),
            (model.statistics.gram, "gram"),
            (model.statistics.cross[:, :high], "cross"),
        ):
            GOLDEN.close(got, f"float64/task{task}/{name}", atol=1e-9)
            GOLDEN.close(got, f"float32/task{task}/{name}", atol=2e-5)


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
