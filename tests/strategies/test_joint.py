"""Joint training: the union of all experiences at once."""

import pytest
import torch

from tests.strategies.shared import noted
from tests.toy_data import TRAIN, Blobs, benchmark
from tests.toys import make


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
