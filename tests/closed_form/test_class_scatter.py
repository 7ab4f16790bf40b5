"""Covariances of classes, exact in any order, and what they may take."""

import pytest
import torch

from cl_prompts.closed_form.class_scatter import ClassScatter, rows_by_class
from tests.models.classifier_data import ABSENT, CLASSES, DIM, PRESENT, data


def test_pieces_in_any_order_give_the_covariance_of_all() -> None:
    x, y = data()
    x = x.double() + 50  # far from the origin, where plain sums of squares lose digits
    classes = ClassScatter(DIM, CLASSES)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    for rows in order.split(7):
        classes.update(x[rows], y[rows])
    for c in PRESENT:
        mine = x[y == c]
        covariance = classes.scatters[c] / (classes.count[c] - 1)
        torch.testing.assert_close(covariance, mine.T.cov(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(classes.mean[c], mine.mean(dim=0), rtol=1e-12, atol=0)
    assert not classes.scatters[ABSENT].any()


def test_about_moving_means_pieces_count_too_little() -> None:
    moving = ClassScatter(1, 1, moving=True)
    for value in (0.0, 2.0, 5.0):
        moving.update(torch.tensor([[value]]).double(), torch.tensor([0]))
    # n N^2 / (n + N)^2 shift^2: 1/4 of 2^2, and 4/9 of 4^2
    assert float(moving.scatters) == pytest.approx(1 + 64 / 9)


def test_rows_keep_their_order_within_a_class() -> None:
    x = torch.arange(5.0)[:, None]
    found = {
        c: mine.flatten().tolist() for c, mine in rows_by_class(x, torch.tensor([2, 0, 2, 0, 2]))
    }
    assert found == {0: [1.0, 3.0], 2: [0.0, 2.0, 4.0]}
