"""First stages of evaluation passes, kept for the next evaluation."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cl_prompts.backbones import ranks
from cl_prompts.metrics import scattered
from cl_prompts.models.base import ContinualModel, Encoding

#: bytes that first stages may take
BUDGET = 2**28


@dataclass(frozen=True)
class _Kept:
    """The first stage over a batch of rows; None where the run was resumed since."""

    rows: Tensor
    row_bytes: int
    keys: dict[str, Hashable] = field(default_factory=dict)
    encoding: Encoding | None = None


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
        >>> stages.find(0, torch.tensor([2, 5]), {"frozen": 1}) is None
        True
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self._kept: dict[int, _Kept] = {}

    def find(self, place: int, rows: Tensor, keys: dict[str, Hashable]) -> Encoding | None:
        """The first stage of this batch, if it is kept.

        Args:
            place: of the batch in the evaluation.
            rows: (batch,) of the test set.
            keys: versions of the model's cacheable parts.
        """
        kept = self._kept.get(place)
        if kept is None or kept.keys != keys or not torch.equal(kept.rows, rows):
            return None
        return kept.encoding

    def run(
        self,
        place: int,
        rows: Tensor,
        keys: dict[str, Hashable],
        model: ContinualModel,
        images: Tensor | None,
        cached: dict[str, Tensor],
    ) -> Encoding:
        """Compute the first stage of a batch, and keep it if it holds more than cacheable parts and
        there is room.

        The arguments are those of :meth:`find` and of
        :meth:`~cl_prompts.models.base.ContinualModel.encode`.
        """
        counter = model.backbone.counter
        before, counts = self._kept.pop(place, None), counter.counts()
        encoding = model.encode(images, cached)
        entry = encoding.entry
        if entry is None or not keys or not keys.keys() <= encoding.parts.keys():
            return encoding
        row_bytes = _row_bytes(
            encoding.tokens, entry.tokens, entry.projected, *encoding.parts.values()
        )
        if before is not None and before.encoding is None and torch.equal(before.rows, rows):
            counter.go_on_from(counts)
        if self.bytes + len(rows) * row_bytes <= self.budget:
            self._kept[place] = _Kept(rows, row_bytes, keys, encoding)
        return encoding

    def end(self, n: int) -> None:
        """Forget what an evaluation of n batches did not ask for."""
        self._kept = {place: kept for place, kept in self._kept.items() if place < n}

    @property
    def bytes(self) -> int:
        """Bytes that they take now, or took when a run was interrupted."""
        return sum(len(kept.rows) * kept.row_bytes for kept in self._kept.values())

    def state_dict(self, n: int) -> dict[str, Any]:
        """Which of the n rows of the test set are kept, in which place (from 1), and the bytes of a
        row."""
        places = torch.zeros(n, dtype=torch.int64)
        for place, kept in self._kept.items():
            places[kept.rows] = place + 1
        if ranks.together():
            places = ranks.total(places)
        return {
            "places": places,
            "row_bytes": max((k.row_bytes for k in self._kept.values()), default=0),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`, except for the values."""
        places = state["places"]
        if ranks.together():
            places = places * scattered.is_own(torch.arange(len(places)))
        self._kept = {
            place - 1: _Kept((places == place).nonzero()[:, 0], int(state["row_bytes"]))
            for place in places.unique().tolist()
            if place
        }


def _row_bytes(*held: Tensor | None) -> int:
    """Bytes of a row of tensors, of which some may be the same."""
    tensors = {id(values): values for values in held if values is not None}
    return sum(values[0].numel() * values.element_size() for values in tensors.values())
