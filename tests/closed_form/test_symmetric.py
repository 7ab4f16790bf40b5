"""Symmetric sums are stored by their lower triangle; solutions stay the same to the last bit."""

import pytest
import torch

from cl_prompts.closed_form.balanced_ridge import BalancedRidge
from cl_prompts.closed_form.symmetric import folded, unfolded


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("above", [(), (3,)])
def test_a_lower_triangle_takes_its_own_size_and_comes_back(n: int, above: tuple[int, ...]) -> None:
    matrix = torch.randn(*above, n, n)
    stored = folded(matrix)
    assert stored.numel() * 2 == matrix.numel() // n * (n + 1)
    whole = unfolded(stored)
    assert torch.equal(whole.tril(), matrix.tril())
    assert torch.equal(whole, whole.mT)
    assert torch.equal(folded(whole), stored)


def test_matrices_of_classes_are_stored_so_too() -> None:
    first, second = (BalancedRidge(6, 3, projection=8, ridge=0.1) for _ in range(2))
    first.update(torch.randn(20, 6), torch.arange(20) % 3)
    state = first.state_dict()
    assert state["grams"].shape == (3, 9, 4)
    second.load_state_dict(state)
    x = torch.randn(5, 6)
    assert torch.equal(first(x), second(x))
    with pytest.raises(RuntimeError, match=r"size mismatch for grams"):
        BalancedRidge(6, 3, projection=10).load_state_dict(state)
