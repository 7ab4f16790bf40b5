"""Measurements along a stream."""

import pytest
import torch

from cl_prompts.metrics import continual as metrics
from cl_prompts.metrics.curve import Curve
from tests.metrics.test_continual import NAN, curve


def test_the_end_is_a_point_only_if_no_threshold_falls_there() -> None:
    made = curve([[1.0], [0.5]], [(8, 0.9), (16, 0.6)])
    assert [p.samples_seen for p in made.points()] == [8, 16, 20]
    assert metrics.a_auc(made) == pytest.approx((0.9 + 0.6 + 0.5) / 3)
    assert metrics.a_auc(made, end=False) == pytest.approx(0.75)
    both = curve([[1.0], [0.5]], [(10, 1.0), (20, 0.5)])
    assert [p.samples_seen for p in both.points()] == [10, 20]


def test_the_state_of_many_evaluations_is_a_few_tensors() -> None:
    made = curve([[0.5, NAN], [0.25, 1.0], [0.75, 0.5]], [(3, 0.4), (5, 0.2)])
    made.task_ends[0].by_class_fixed = torch.tensor([0.1])
    state = made.state_dict()
    assert state["anytime"]["by_class"].shape == (2, 2)
    assert state["task_ends"]["by_class"].shape == (3, 2)
    again = Curve()
    again.load_state_dict(state)
    kept = zip([*made.anytime, *made.task_ends], [*again.anytime, *again.task_ends], strict=True)
    for old, new in kept:
        assert (old.samples_seen, old.accuracy, old.scores) == (
            new.samples_seen,
            new.accuracy,
            new.scores,
        )
        assert torch.equal(old.by_class.nan_to_num(-1), new.by_class.nan_to_num(-1))
        assert old.by_class_fixed is new.by_class_fixed
    assert metrics.a_auc(again) == metrics.a_auc(made)
