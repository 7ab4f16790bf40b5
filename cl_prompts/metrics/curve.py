"""Measurements along a stream: evaluations, the anytime curve.

Accuracies are fractions in [0, 1]. Plain torch, without Avalanche.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.state import State


@dataclass
class Evaluation:
    """One evaluation on the test images of the classes seen so far.

    Attributes:
        samples_seen: stream samples of the training before it.
        accuracy: over all these images; NaN if no class was seen. Multi-label: mean average
            precision (mAP).
        by_class: (classes,) accuracies, NaN for unseen classes. Multi-label: average precisions
            (AP).
        by_class_fixed: multi-label: AP on the fixed test set of each class's own task.
        scores: further metrics by name (multi-label: CF1, OF1, ... at each threshold).
        images: (classes,) test images of each class, for pooled accuracies; None: equal numbers.
        by_cell: (domains, classes) accuracies, NaN without images; None without domains.
        images_by_cell: (domains, classes) test images.

    Example:
        >>> Evaluation(100, 0.5, torch.tensor([0.5, 0.5])).accuracy
        0.5
    """

    samples_seen: int
    accuracy: float
    by_class: Tensor
    by_class_fixed: Tensor | None = None
    scores: dict[str, float] = field(default_factory=dict)
    images: Tensor | None = None
    by_cell: Tensor | None = None
    images_by_cell: Tensor | None = None

    @property
    def by_domain(self) -> Tensor | None:
        """(domains,) accuracies over each domain's images, NaN without images; None without
        domains."""
        if self.by_cell is None or self.images_by_cell is None:
            return None
        right = (self.by_cell * self.images_by_cell).nansum(dim=1)
        return right / self.images_by_cell.sum(dim=1)

    def in_domains(self) -> Evaluation:
        """The same evaluation with each pair of domain and class as a class, (domains *
        classes,)."""
        assert self.by_cell is not None
        assert self.images_by_cell is not None
        return Evaluation(
            self.samples_seen,
            self.accuracy,
            self.by_cell.flatten(),
            images=self.images_by_cell.flatten(),
        )


@dataclass
class Curve:
    """All evaluations along a stream.

    Attributes:
        anytime: evaluations at the anytime points, in order.
        task_ends: one evaluation after each task.

    Example:
        >>> end = Evaluation(100, 0.5, torch.tensor([0.5]))
        >>> curve = Curve(anytime=[Evaluation(50, 0.8, torch.tensor([0.8]))], task_ends=[end])
        >>> [point.samples_seen for point in curve.points()]
        [50, 100]
    """

    anytime: list[Evaluation] = field(default_factory=list)
    task_ends: list[Evaluation] = field(default_factory=list)

    def in_domains(self) -> Curve:
        """The same curve with each pair of domain and class as a class."""
        anytime = [point.in_domains() for point in self.anytime]
        return Curve(anytime, [end.in_domains() for end in self.task_ends])

    def points(self, *, end: bool = True) -> list[Evaluation]:
        """Points of the anytime curve, in order; the end of the stream unless ``end=False``."""
        points = self.anytime
        before = points[-1].samples_seen if points else -1
        if end and self.task_ends and before < self.task_ends[-1].samples_seen:
            points = [*points, self.task_ends[-1]]
        return [p for p in points if p.accuracy == p.accuracy]

    def widen(self, n_classes: int) -> None:
        """Enlarge all evaluations to ``n_classes`` columns, NaN and no images for new classes."""
        for point in (*self.anytime, *self.task_ends):
            for name, value in _UNKNOWN.items():
                known = getattr(point, name)
                if known is not None:
                    more = (0, n_classes - known.shape[-1])
                    setattr(point, name, F.pad(known, more, value=value))

    def spread(self, places: list[int], n_domains: int) -> None:
        """Move the known domains to the rows ``places`` of ``n_domains``, NaN elsewhere."""
        for point in (*self.anytime, *self.task_ends):
            for name in ("by_cell", "images_by_cell"):
                known = getattr(point, name)
                if known is not None:
                    wide = known.new_full((n_domains, known.shape[1]), _UNKNOWN[name])
                    wide[places] = known
                    setattr(point, name, wide)

    def state_dict(self) -> State:
        """Plain lists and tensors, one tensor for all evaluations."""
        return {"anytime": _columns(self.anytime), "task_ends": _columns(self.task_ends)}

    def load_state_dict(self, state: State) -> None:
        """Inverse of :meth:`state_dict`."""
        for name in ("anytime", "task_ends"):
            columns = (list(state[name][entry.name]) for entry in _FIELDS)
            setattr(self, name, [Evaluation(*row) for row in zip(*columns, strict=True)])


def _columns(evaluations: list[Evaluation]) -> State:
    """The values of each field, tensors of one shape stacked."""
    return {e.name: _stacked([getattr(row, e.name) for row in evaluations]) for e in _FIELDS}


def _stacked(values: list[Any]) -> object:
    alike = {v.shape if isinstance(v, Tensor) else None for v in values}
    return torch.stack(values) if len(alike) == 1 and None not in alike else values


_FIELDS = fields(Evaluation)
#: Fields with a column of each class, and the value of a class without images.
_UNKNOWN = {
    **dict.fromkeys(("by_class", "by_class_fixed", "by_cell"), torch.nan),
    **dict.fromkeys(("images", "images_by_cell"), 0),
}
