"""KLDA on a stream: the batch solution in the space of its kernel, and its settings."""

from __future__ import annotations

import torch

from tests.toy_data import experiences
from tests.toys import fit, make


def test_the_kernel_is_that_of_the_first_batch() -> None:
    strategy = fit(make("klda"), experiences())
    first = next(iter(experiences())).dataset
    n = strategy.train_mb_size
    images = torch.stack([first[i][0] for i in range(min(n, len(first)))])
    features = strategy.model.features(images).double()
    distance = torch.pdist(features).square().median()
    found = strategy.model.head.members[0].expansion.bandwidth
    torch.testing.assert_close(float(found), float(1 / distance), rtol=1e-5, atol=0)
