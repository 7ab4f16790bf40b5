"""The mini-batch as it is trained on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cl_prompts.strategies.base.batch import Batch


def batch(annotated: Tensor) -> Batch:
    columns = [torch.arange(5.0)[:, None], torch.tensor([4, 3, 2, 1, 0])]
    return Batch(columns, annotated, slots=torch.tensor([8, 9]))


def test_replayed_samples_come_behind_the_streams() -> None:
    whole = batch(torch.ones(6, dtype=torch.bool))
    assert whole.n_stream == 3
    assert whole.images is whole.columns[0]
    assert whole.labels is whole.columns[1]


@pytest.mark.parametrize("shape", [(6,), (5, 6)])
def test_a_part_has_the_rows_of_every_column(shape: tuple[int, ...]) -> None:
    annotated = torch.rand(shape) < 0.5
    whole = batch(annotated)
    part = whole.part(slice(3, None))
    assert part.labels.tolist() == [1, 0]
    assert part.images.flatten().tolist() == [3, 4]
    assert torch.equal(part.annotated, annotated if len(shape) == 1 else annotated[3:])
    assert part.slots.tolist() == [8, 9]
    assert len(whole.labels) == 5


def test_labels_come_from_the_host_where_they_are_known() -> None:
    whole = batch(torch.ones(6, dtype=torch.bool))
    assert whole.labels_on_host(2).tolist() == [4, 3]
    assert whole.classes_on_host() is None
    whole.host_labels = torch.tensor([1, 5, 1])
    assert whole.labels_on_host(2).tolist() == [1, 5]
    assert whole.classes_on_host() == [1, 5]
    assert whole.part(slice(1, None)).classes_on_host() is None
