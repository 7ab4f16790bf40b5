"""Streaming LDA: a blurry stream gives the batch solution."""

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
    strategy = fit(make("slda", shrinkage=1e-2), experiences())
    x = frozen_features(train)
    y = train.targets
    probe = frozen_features(test)
    means = np.stack([x[y == c].mean(0) for c in range(N_CLASSES)])
    inside = x - means[y]
    covariance = (1 - 1e-2) * inside.T @ inside / len(x) + 1e-2 * np.eye(x.shape[1])
    precision = np.linalg.inv(covariance)
    offset = np.einsum("cd,de,ce->c", means, precision, means) / 2
    want = probe @ precision @ means.T - offset
    want -= want.max(axis=1, keepdims=True)  # scores are relative to the best class
    logits = strategy.model(test.images).double().numpy()
    assert np.abs(logits - want).max() <= 1e-4 * np.abs(want).max()
    assert (logits.argmax(1) == test.targets).mean() > 0.9


def test_some_shrinkage_is_needed() -> None:
    with pytest.raises(InputError, match="shrinkage"):
        make("slda", shrinkage=0.0)
