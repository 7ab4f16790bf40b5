"""Rainbow Memory's selection."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.training.rainbow import diverse_selection, view_uncertainty


def test_uncertainty_counts_disagreeing_views() -> None:
    predictions = torch.tensor([[0, 1, 2], [0, 1, 0], [0, 2, 1], [0, 1, 1]])  # (views, samples)
    scores = torch.nn.functional.one_hot(predictions, 3).float()
    assert view_uncertainty(scores).tolist() == pytest.approx([0, 0.25, 0.5])
    scores[1, 1, 0] = -torch.inf  # an unseen class is never voted for: still class 1
    assert view_uncertainty(scores).tolist() == pytest.approx([0, 0.25, 0.5])


def test_samples_are_evenly_spaced_from_certain_to_uncertain() -> None:
    uncertainty = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8])
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1])
    # ranks 0, 2, 4 of class 0
    assert diverse_selection(uncertainty, labels, 4).tolist() == [1, 3, 4, 6]
    assert diverse_selection(uncertainty, labels, 99).tolist() == list(range(7))


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(0, 35))
def test_classes_share_the_memory(labels: list[int], size: int) -> None:
    generator = torch.Generator().manual_seed(len(labels))
    target = torch.tensor(labels, dtype=torch.int64)
    chosen = diverse_selection(torch.rand(len(labels), generator=generator), target, size).tolist()
    assert len(set(chosen)) == len(chosen) == min(size, len(labels))
    counts = [sum(labels[i] == c for i in chosen) for c in set(labels)]
    for c, n in zip(set(labels), counts, strict=True):
        assert n == labels.count(c) or n >= max(counts) - 1
