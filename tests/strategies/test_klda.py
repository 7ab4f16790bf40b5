"""KLDA on a stream: the batch solution in the space of its kernel, and its settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cl_prompts.errors import InputError
from tests.strategies.shared import frozen_features
from tests.toy_data import N_CLASSES, TRAIN, Blobs, experiences
from tests.toys import fit, make


def test_a_blurry_stream_gives_the_batch_solution() -> None:
    train = Blobs(TRAIN, seed=1)
    test = Blobs(48, seed=2)
    strategy = fit(make("klda", width=30, gamma=0.02, shrinkage=1e-3), experiences())
    expansion = strategy.model.head.members[0].expansion
    phi, probe = (expansion(torch.from_numpy(frozen_features(d))).numpy() for d in (train, test))
    means = np.stack([phi[train.targets == c].mean(0) for c in range(N_CLASSES)])
    inside = phi - means[train.targets]
    precision = np.linalg.inv(inside.T @ inside / len(phi) + 1e-3 * np.eye(30))
    away = probe[:, None] - means
    want = -np.einsum("bcm,mn,bcn->bc", away, precision, away) / 2
    want -= want.max(axis=1, keepdims=True)  # scores are relative to the best class
    logits = strategy.model(test.images).double().numpy()
    assert np.abs(logits - want).max() <= 1e-4 * np.abs(want).max()
    assert (logits.argmax(1) == test.targets).mean() > 0.8


def test_the_kernel_is_that_of_the_first_batch() -> None:
    strategy = fit(make("klda"), experiences())
    first = next(iter(experiences())).dataset
    n = strategy.train_mb_size
    images = torch.stack([first[i][0] for i in range(min(n, len(first)))])
    features = strategy.model.features(images).double()
    distance = torch.pdist(features).square().median()
    found = strategy.model.head.members[0].expansion.bandwidth
    torch.testing.assert_close(float(found), float(1 / distance), rtol=1e-5, atol=0)


def test_settings_reach_the_classifier() -> None:
    head = make("klda", seed=3, members=2, gamma=0.5, shrinkage_form="relative").model.head
    first, second = (member.expansion for member in head.members)
    assert first.gamma == second.gamma == 0.5
    assert head.members[1].shrinkage_form == "relative"
    assert not torch.equal(first.matrix, second.matrix)
    assert make("klda", form="released", shrinkage=0.0).model.head.form == "released"
    with pytest.raises(InputError, match="shrinkage of the streaming LDA is 0"):
        make("klda", shrinkage=0.0)
