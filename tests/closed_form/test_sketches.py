"""Frequent Directions: the bound in any order and division, exact sketches, merging."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.closed_form.discriminant import ClassSketches, compressed


def sketched(rows: torch.Tensor, rank: int, cuts: list[int]) -> torch.Tensor:
    sketches = ClassSketches(rank, rows.shape[1], n_classes=2)
    for piece in rows.tensor_split(sorted(cuts)):
        sketches.add(1, piece)
    assert not sketches.rows[0].any()
    return sketches.rows[1]


def error(rows: torch.Tensor, sketch: torch.Tensor) -> tuple[float, float]:
    """Least and greatest eigenvalue of X'X - V'V."""
    values = torch.linalg.eigvalsh(rows.T @ rows - sketch.T @ sketch)
    return float(values[0]), float(values[-1])


@given(
    n=st.integers(1, 60),
    rank=st.integers(1, 9),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    seed=st.integers(0, 99),
    decay=st.floats(0, 2),
    order=st.sampled_from((0, 1, -1)),
)
def test_the_sketch_keeps_its_bound(
    n: int, rank: int, cuts: list[int], seed: int, decay: float, order: int
) -> None:
    rows = torch.randn(n, 7, generator=torch.Generator().manual_seed(seed)).double()
    rows *= torch.arange(1, 8) ** -decay
    # random, rising or falling lengths
    rows = rows[(order * rows.norm(dim=1)).argsort(stable=True)]
    least, greatest = error(rows, sketched(rows, rank, cuts))
    whole = float(rows.square().sum())
    assert least >= -1e-9 * whole
    assert greatest <= whole / (rank + 1) + 1e-9 * whole
    if n <= rank or rank >= 7:
        assert greatest <= 1e-9 * whole


def test_the_sketch_reduces_squared_singular_values_by_the_largest_left_out() -> None:
    sketch = compressed(torch.diag(torch.tensor([5.0, 4.0, 3.0, 1.0]).double()), 2)
    want = torch.diag(torch.tensor([16.0, 7.0, 0.0, 0.0]).double())
    torch.testing.assert_close(sketch.T @ sketch, want)
