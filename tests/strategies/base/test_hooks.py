"""The hooks of methods, in their default form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.labels import classes_of
from tests.toy_data import N_CLASSES, experiences
from tests.toys import fit, make, watch


@pytest.mark.parametrize("kind", ["er", "derpp", "ewcpp"])
def test_replayed_samples_keep_the_annotated_classes_of_their_task(kind: str) -> None:
    strategy, stream, seen = make(kind, "mlcil"), experiences("mlcil"), []

    def note(output: Any, batch: Batch) -> None:
        if len(batch.slots):
            sources = strategy.buffer.slots[batch.slots, 0].tolist()
            rows = zip(batch.annotated[batch.n_stream :], sources, strict=True)
            seen.extend((row.clone(), source) for row, source in rows)
            assert torch.equal(batch.annotated[0], strategy.annotated)

    watch(strategy, "training_loss", note)
    fit(strategy, stream[:2])
    assert {source for _, source in seen} == {0, 1}
    assert all(torch.equal(row, classes_of(stream[source], N_CLASSES)) for row, source in seen)
