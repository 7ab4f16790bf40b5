"""Weights of classes in AIR."""

import torch

from cl_prompts.closed_form.balanced_ridge import BalancedRidge


def test_known_classes_alone_share_the_weight() -> None:
    seen, in_range = (
        BalancedRidge(12, 7, projection=20, balance_over=over) for over in ("seen", "range")
    )
    for air in (seen, in_range):
        air.update(torch.randn(6, 12), torch.tensor([5, 5, 5, 5, 1, 1]))
    torch.testing.assert_close(seen.class_weights()[[1, 5]], torch.tensor([4 / 3, 2 / 3]).double())
    torch.testing.assert_close(in_range.class_weights(), 3 * seen.class_weights())
