"""Nearest class mean: a blurry stream gives the batch solution."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from tests.strategies.shared import frozen_features
from tests.toy_data import TRAIN, Blobs, experiences
from tests.toys import fit, make


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_blurry_stream_gives_the_batch_solution(metric: str) -> None:
    train = Blobs(TRAIN, seed=1)
    test = Blobs(48, seed=2)
    strategy = fit(make("ncm", metric=metric), experiences())
    centres = NearestCentroid().fit(frozen_features(train), train.targets).centroids_
    probe = frozen_features(test)
    if metric == "euclidean":
        want = -((probe[:, None] - centres) ** 2).sum(-1)
        want -= want.max(axis=1, keepdims=True)
    else:
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (probe, centres)]
        want = unit[0] @ unit[1].T
    logits = strategy.model(test.images).double().numpy()
    assert np.abs(logits - want).max() <= 1e-4 * max(1.0, np.abs(want).max())
    assert (logits.argmax(1) == test.targets).mean() > 0.9
