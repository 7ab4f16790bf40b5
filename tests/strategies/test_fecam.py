"""FeCAM on a stream: the distances of the batch solution, and its settings."""

from __future__ import annotations

import numpy as np
import pytest

from cl_prompts.errors import InputError
from tests.strategies.shared import frozen_features
from tests.toy_data import N_CLASSES, TRAIN, Blobs, experiences
from tests.toys import fit, make


def test_a_blurry_stream_gives_the_batch_solution() -> None:
    train = Blobs(TRAIN, seed=1)
    test = Blobs(48, seed=2)
    strategy = fit(make("fecam", diagonal=2.0), experiences())
    x, probe = (frozen_features(data) for data in (train, test))
    x, probe = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, probe))
    want = np.empty((len(probe), N_CLASSES))
    for c in range(N_CLASSES):
        mine = x[train.targets == c]
        covariance = np.cov(mine, rowvar=False)
        covariance += 2.0 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        deviation = np.sqrt(np.diag(covariance))
        inverse = np.linalg.inv(covariance / np.outer(deviation, deviation))
        away = probe - mine.mean(axis=0)
        want[:, c] = -np.einsum("bd,de,be->b", away, inverse, away)
    logits = strategy.model(test.images).double().numpy()
    assert np.abs(logits - want).max() <= 1e-4 * np.abs(want).max()


def test_settings_reach_the_classifier() -> None:
    head = make("fecam", off_diagonal=10.0, form="toolbox").model.head
    assert (head.diagonal, head.off_diagonal, head.form) == (1.0, 10.0, "toolbox")
    with pytest.raises(InputError, match=r"FeCAM keeps a covariance and an inverse a class"):
        make("fecam", memory_gib=1e-6)
