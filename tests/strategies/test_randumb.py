"""RanDumb on a stream: shrinkage that is found, and the released form."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.models.shrinkage import shrunk_by_oas
from tests.strategies.shared import frozen_features
from tests.toy_data import N_CLASSES, TRAIN, Blobs, experiences
from tests.toys import fit, make


def test_a_blurry_stream_gives_the_batch_solution() -> None:
    train = Blobs(TRAIN, seed=1)
    head = fit(make("randumb", width=30, gamma=0.02), experiences()).model.head
    phi = head.expansion(torch.from_numpy(frozen_features(train)))
    labels = torch.as_tensor(train.targets)
    means = torch.stack([phi[labels == c].mean(dim=0) for c in range(N_CLASSES)])
    inside = phi - means[labels]
    covariance = shrunk_by_oas(inside.T @ inside / len(phi), len(phi))
    covariance = (1 - 1e-4) * covariance + 1e-4 * torch.eye(30)
    want = torch.linalg.solve(covariance, means.T)
    torch.testing.assert_close(
        head.solution(), want, rtol=1e-3, atol=1e-4 * float(want.abs().max())
    )


def test_the_released_form_keeps_a_matrix_a_class_and_refuses_too_many() -> None:
    head = make("randumb_class").model.head
    assert tuple(head.classes.scatters.shape) == (N_CLASSES, 40, 40)
    with pytest.raises(InputError, match=r"RanDumb keeps one matrix a class.*a width of at most"):
        make("randumb_class", width=400, memory_gib=1e-4)
