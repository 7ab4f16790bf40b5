"""LayUP on a stream: when its ridge is chosen, and what one normed block comes to."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from cl_prompts.models.multi_label_ridge import MultiLabelRidge
from tests.strategies.shared import frozen_features
from tests.toy_data import N_CLASSES, TRAIN, Blobs, experiences
from tests.toys import fit, make


def test_one_normed_block_is_ridge_regression_on_the_class_token() -> None:
    strategy = fit(make("layup", read_out="blocks:1", ridge=3.0), experiences())
    train, test = Blobs(TRAIN, seed=1), Blobs(48, seed=2)
    onehot = np.eye(N_CLASSES)[train.targets]
    solver = Ridge(alpha=3.0, fit_intercept=False).fit(frozen_features(train), onehot)
    logits = strategy.model(test.images).double().numpy()
    assert np.abs(logits - solver.predict(frozen_features(test))).max() <= 1e-4


@pytest.mark.parametrize(
    ("scenario", "period", "chosen"),
    [("class_incremental", None, True), ("si_blurry", None, False), ("si_blurry", 50, True)],
)
def test_the_ridge_is_chosen_where_a_task_ends(
    scenario: str, period: int | None, chosen: bool
) -> None:
    # A value that is no candidate.
    strategy = fit(
        make("layup", scenario, period=period, ridge=7.0, held_out=60), experiences(scenario)
    )
    assert (float(strategy.model.head.ridge) != 7.0) == chosen


def test_several_labels_have_the_image_ridge() -> None:
    head = make("layup", "mlcil").model.head
    assert isinstance(head, MultiLabelRidge)
    assert head.dim == 2 * 16
