"""Linear probe: only the head learns."""

import torch

from tests.toy_data import experiences
from tests.toys import fit, make, weights


def test_each_class_of_a_multi_label_probe_learns_alone() -> None:
    strategy = make("linear_probe", "mlcil", new_optimizer=True)
    first, second, *_ = experiences("mlcil")
    old = sorted(first.classes_in_this_experience)
    before = weights(fit(strategy, [first]))["head.weight"][old]
    after = weights(fit(strategy, [second]))["head.weight"][old]
    assert torch.equal(before, after)
