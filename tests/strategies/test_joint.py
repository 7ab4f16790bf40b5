"""Joint training: the union of all experiences at once."""

import numpy as np
import pytest
import torch

from tests.strategies.shared import noted
from tests.toy_data import TRAIN, Blobs, Scenes, benchmark
from tests.toys import fit, make


def test_an_image_comes_once_with_all_its_labels() -> None:
    stream = benchmark("mlcil").train_stream
    union = stream.joint()
    shown = np.concatenate([e.indices for e in stream])
    assert len(union.dataset) == len(np.unique(shown)) == TRAIN < len(shown)
    labels = torch.stack([item[1] for item in union.dataset])
    assert torch.equal(labels, torch.from_numpy(Scenes(TRAIN, seed=1).targets).float())
    part = stream.joint([0, 2])
    assert part.classes_in_this_experience == {0, 1, 4, 5}
    assert all(not item[1][2:4].any() for item in part.dataset)
    assert fit(make("joint", "mlcil"), stream).samples_seen == 2 * TRAIN


@pytest.mark.parametrize("scenario", ["si_blurry", "class_incremental"])
def test_all_samples_are_shuffled_together_in_every_epoch(scenario: str) -> None:
    stream = benchmark(scenario).train_stream
    labels = noted(make("joint", scenario), "after_step", lambda _, batch: batch.labels, stream)
    first, second = torch.cat(labels).split(TRAIN)
    truth = torch.from_numpy(Blobs(TRAIN, seed=1).targets)
    for epoch in (first, second):
        assert torch.equal(epoch.sort().values, truth.sort().values)
    assert not torch.equal(first, second)
    assert all(len(batch.unique()) > 2 for batch in labels[:-1])  # classes of several tasks
