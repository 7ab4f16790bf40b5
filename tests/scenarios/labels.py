"""Labels for the tests of scenarios: fixed ones, drawn ones, and how much Python works on them."""

from typing import Any

import numpy as np
from hypothesis import strategies as st


def some_labels(n: int, n_classes: int, *, seed: int = 0, share: float = 0.15) -> np.ndarray:
    """A random 0/1 matrix in which each class occurs and some rows are empty."""
    matrix = (np.random.default_rng(seed).random((n, n_classes)) < share).astype(np.uint8)
    matrix[:n_classes] |= np.eye(n_classes, dtype=np.uint8)
    matrix[-3:] = 0
    return matrix


@st.composite
def matrices(draw: st.DrawFn, max_classes: int = 10, max_images: int = 30) -> np.ndarray:
    """0/1 matrices in which each class occurs."""
    n_classes = draw(st.integers(1, max_classes))
    row = st.lists(st.booleans(), min_size=n_classes, max_size=n_classes)
    rows = draw(st.lists(row, min_size=1, max_size=max_images))
    matrix = np.array(rows, dtype=np.uint8)
    for c in np.flatnonzero(~matrix.any(axis=0)):
        matrix[draw(st.integers(0, len(matrix) - 1)), c] = 1
    return matrix


@st.composite
def label_lists(draw: st.DrawFn, max_classes: int = 14, max_extra: int = 80) -> list[int]:
    """Integer labels of which each occurs."""
    n_classes = draw(st.integers(1, max_classes))
    extra = draw(st.lists(st.integers(0, n_classes - 1), max_size=max_extra))
    return draw(st.permutations([*range(n_classes), *extra]))


@st.composite
def blurry_parameters(draw: st.DrawFn, n_classes: int) -> dict[str, Any]:
    """Parameters of ``si_blurry_split``, but for ``leftover``."""
    return {
        "n_tasks": draw(st.integers(1, n_classes)),
        "disjoint_percent": draw(st.sampled_from([0, 30, 50, 77, 100])),
        "blurry_percent": draw(st.sampled_from([0, 10, 35, 100])),
        "seed": draw(st.integers(0, 2**33)),
        "stochastic": draw(st.booleans()),
    }
