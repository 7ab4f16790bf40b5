"""AIR on a stream: classes count the same however rare; published weights are in test_gacl.py."""

from __future__ import annotations

import torch

from tests.toy_data import experiences
from tests.toys import fit, make


def test_a_class_weighs_the_same_however_rare_it_is() -> None:
    air = fit(make("air"), experiences())
    v, count = air.model.head.class_weights(), air.model.head.count
    torch.testing.assert_close(v * count, torch.full_like(v, float((v * count).mean())))
