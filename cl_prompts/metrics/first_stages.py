"""First stages of evaluation passes, kept for the next evaluation."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cl_prompts.models.base import ContinualModel, Encoding

#: bytes that first stages may take
BUDGET = 2**28


#: of a batch in an evaluation: the group of its rows, and the number of the batch in it
Place = tuple[int, int]


@dataclass(frozen=True)
class _Batch:
    """Rows of a batch, the bytes of each (0: not kept), and the first stage and its model, which
    are None where it is not kept or where the run was resumed since."""

    rows: Tensor
    row_bytes: int = 0
    keys: dict[str, Hashable] = field(default_factory=dict)
    encoding: Encoding | None = None
    model: ContinualModel | None = None


class FirstStages:
    """First stages of passes over the test images, by place of the batch in an evaluation.

    A batch of the same rows as in the last evaluation takes over its embedded tokens, and all up to
    the first prompts, while nothing that they depend on has changed. That is exact, and rounded as
    if it were computed anew. A resumed run, which has to compute them again, counts that as no
    work, so that it counts what it would without the interruption.

    Args:
        budget: bytes that they may take; further batches are computed each time.

    Example:
        >>> stages = FirstStages()
        >>> stages.find((0, 0), torch.tensor([2, 5]), {"frozen": 1}, None) is None
        True
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self._batches: dict[Place, _Batch] = {}

    def find(
        self, place: Place, rows: Tensor, keys: dict[str, Hashable], model: ContinualModel | None
    ) -> Encoding | None:
        """The first stage of this batch, if it is kept.

        Args:
            place: of the batch in the evaluation.
            rows: (batch,) of the test set.
            keys: versions of the model's cacheable parts.
            model: whose first stage it is; another's may have its first prompts elsewhere.
        """
        kept = self._batches.get(place)
        if kept is None or kept.keys != keys or kept.model is not model:
            return None
        if not torch.equal(kept.rows, rows):
            return None
        return kept.encoding

    def run(
        self,
        place: Place,
        rows: Tensor,
        keys: dict[str, Hashable],
        model: ContinualModel,
        images: Tensor | None,
        cached: dict[str, Tensor],
    ) -> Encoding:
        """Compute the first stage of a batch, and keep it if it holds more than cacheable parts and
        there is room.

        Args:
            place: see :meth:`find`, as for ``rows`` and ``keys``.
            rows: (batch,) of the test set.
            keys: versions of the model's cacheable parts.
            model: see :meth:`find`.
            images: see :meth:`~cl_prompts.models.base.ContinualModel.encode`, as for ``cached``.
            cached: parts of these images.
        """
        counter = model.backbone.counter
        before, counts = self._batches.pop(place, None), counter.counts()
        encoding = model.encode(images, cached)
        entry = encoding.entry
        # Without an entry nothing beyond the cacheable parts was computed, and those are kept
        # elsewhere.
        if entry is None or not keys or not keys.keys() <= encoding.parts.keys():
            return encoding
        # A resumed run computes again what the interrupted one had counted: it counts once.
        if before and before.row_bytes and not before.encoding and torch.equal(before.rows, rows):
            counter.go_on_from(counts)
        row_bytes = _row_bytes(
            encoding.tokens, entry.tokens, entry.projected, *encoding.parts.values()
        )
        fits = self.bytes + len(rows) * row_bytes <= self.budget
        self._batches[place] = (
            _Batch(rows, row_bytes, keys, encoding, model) if fits else _Batch(rows)
        )
        return encoding

    def end(self, places: Collection[Place]) -> None:
        """Forget what is in none of the places of an evaluation."""
        self._batches = {at: batch for at, batch in self._batches.items() if at in places}

    @property
    def bytes(self) -> int:
        """Bytes that they take now, or took when a run was interrupted."""
        return sum(len(batch.rows) * batch.row_bytes for batch in self._batches.values())

    def state_dict(self, n: int) -> dict[str, Any]:
        """The group of each of the n rows of the test set, counted from 1 and negative for rows of
        batches that are not kept, and the bytes of a row."""
        groups = torch.zeros(n, dtype=torch.int64)
        for (group, _), batch in self._batches.items():
            groups[batch.rows] = group + 1 if batch.row_bytes else -group - 1
        row_bytes = max((batch.row_bytes for batch in self._batches.values()), default=0)
        return {"groups": groups, "row_bytes": row_bytes}

    def load_state_dict(self, state: dict[str, Any], batch_size: int) -> None:
        """Inverse of :meth:`state_dict`, except for the values."""
        groups = state["groups"]
        self._batches = {}
        for group in range(int(groups.abs().max())):
            members = (groups.abs() == group + 1).nonzero()[:, 0]
            for i, rows in enumerate(members.split(batch_size)):
                kept = bool((groups[rows] > 0).all())
                self._batches[group, i] = _Batch(rows, int(state["row_bytes"]) if kept else 0)


def _row_bytes(*held: Tensor | None) -> int:
    """Bytes of a row of tensors, of which some may be the same."""
    tensors = {id(values): values for values in held if values is not None}
    return sum(values[0].numel() * values.element_size() for values in tensors.values())
