"""RanPAC: a blurry stream gives the batch solution; when its ridge is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from tests.strategies.shared import frozen_features
from tests.toy_data import N_CLASSES, TRAIN, Blobs, experiences
from tests.toys import fit, make


def test_a_blurry_stream_gives_the_batch_solution() -> None:
    train = Blobs(TRAIN, seed=1)
    test = Blobs(48, seed=2)
    strategy = fit(make("ranpac", seed=4), experiences())
    x = frozen_features(train)
    probe = frozen_features(test)
    generator = torch.Generator().manual_seed(4)
    matrix = torch.randn(x.shape[1], 40, generator=generator).double().numpy()
    onehot = np.eye(N_CLASSES)[train.targets]
    solver = Ridge(alpha=3.0, fit_intercept=False).fit(np.maximum(x @ matrix, 0), onehot)
    want = solver.predict(np.maximum(probe @ matrix, 0))
    logits = strategy.model(test.images).double().numpy()
    assert np.abs(logits - want).max() <= 1e-4
    assert (logits.argmax(1) == test.targets).mean() > 0.9


@pytest.mark.parametrize(
    ("scenario", "changes", "chosen"),
    [
        ("class_incremental", {}, True),  # announced
        ("si_blurry", {}, False),  # not announced
        ("si_blurry", {"period": 50}, True),
        ("class_incremental", {"held_out": 0}, False),
    ],
)
def test_the_ridge_is_chosen_where_a_task_ends(
    scenario: str, changes: dict[str, Any], chosen: bool
) -> None:
    strategy = fit(make("ranpac", scenario, **changes), experiences(scenario))
    ridge = float(strategy.model.head.ridge)
    assert ridge in {10.0**k for k in range(-8, 9)} if chosen else ridge == 3.0
