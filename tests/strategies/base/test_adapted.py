"""What APER and EASE share: boundaries, dropout by seed, no replay."""

from typing import Any

import pytest
import torch

from tests.toy_data import Blobs, experiences
from tests.toys import ADAPTED, fit, make, same, weights

IMAGES = Blobs(8, seed=5).images

every = pytest.mark.parametrize("kind", ADAPTED)


@every
def test_dropout_acts_in_training_alone_and_is_drawn_from_the_seed(kind: str) -> None:
    first_task = experiences("class_incremental")[:1]

    def trained(**settings: Any) -> Any:
        return fit(make(kind, "class_incremental", **settings), first_task)

    some = trained(dropout=0.5)
    assert same(weights(some), weights(trained(dropout=0.5)))
    assert not same(weights(some), weights(trained(dropout=0.5, seed=1)))
    assert not same(weights(some), weights(trained(dropout=0.0)))
    model = some.model.eval()
    with torch.no_grad():
        assert torch.equal(model(IMAGES), model(IMAGES))
