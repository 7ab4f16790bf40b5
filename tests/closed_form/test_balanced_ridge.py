"""AIR against published numbers and its formula."""

import torch

from cl_prompts.closed_form.balanced_ridge import BalancedRidge
from tests.golden_numbers import Golden

GOLDEN = Golden("analytic")


def published(balance_over: str = "range") -> BalancedRidge:
    air = BalancedRidge(
        12,
        7,
        projection=20,
        ridge=GOLDEN.number("gamma"),
        balance_over=balance_over,  # type: ignore[arg-type]
    )
    air.expansion.matrix = GOLDEN("projection")
    return air


def test_known_classes_alone_share_the_weight() -> None:
    seen = published("seen")
    in_range = published("range")
    for air in (seen, in_range):
        air.update(torch.randn(6, 12), torch.tensor([5, 5, 5, 5, 1, 1]))
    torch.testing.assert_close(seen.class_weights()[[1, 5]], torch.tensor([4 / 3, 2 / 3]).double())
    torch.testing.assert_close(in_range.class_weights(), 3 * seen.class_weights())
