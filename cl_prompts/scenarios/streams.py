"""Avalanche streams and their data sets: lazy experiences, multi-hot targets, stream attributes.

Avalanche's ``benchmark_with_validation_stream`` and ``split_online_stream`` build experiences from
the data set alone and keep its attributes. Strategies therefore read from the data set what an
experience lacks (``cl_prompts.strategies.base.experience.mark_of``).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks import DatasetExperience
from avalanche.benchmarks.scenarios.generic_scenario import SequenceCLStream
from avalanche.benchmarks.utils import (
    AvalancheDataset,
    DataAttribute,
    TaskAwareSupervisedClassificationDataset,
    TaskLabels,
)
from avalanche.benchmarks.utils.flat_data import ConstantSequence
from torch import Tensor
from torch.utils.data import Subset

from cl_prompts.datasets.collate import LabelledItems
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.scenarios.domain_incremental import DomainSplit
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.split import BaseSplit

#: maps rows and their visible classes to a data set of Avalanche
DataOf = Callable[[np.ndarray, np.ndarray], TaskAwareSupervisedClassificationDataset]
#: Attributes of an experience that its data set carries.
CARRIED = ("ordered", "boundaries")


class MultiHotTargets(DataAttribute):
    """Avalanche's ``targets`` attribute over a 0/1 label matrix with hidden classes.

    Item i is the float32 vector (C,) of sample i. ``uniques`` are the label ids that occur.

    Avalanche's tools for integer labels (``ClassBalancedBuffer``, GDumb, DER, ER_ACE, MIR, GSS)
    fail with these targets.

    Attributes:
        labels: visible labels (m, C) uint8.
        annotated: annotated classes (C,) bool, whose zeros are negatives: the visible ones. None
            after joining targets with different ones.

    Example:
        >>> labels = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.uint8)
        >>> targets = MultiHotTargets(labels, annotated=np.array([True, True, False]))
        >>> targets[0].tolist(), targets.uniques
        ([1.0, 0.0, 0.0], {0, 1})
    """

    def __init__(self, labels: np.ndarray, annotated: np.ndarray | None) -> None:
        self.labels = labels
        self.annotated = annotated
        super().__init__(range(len(labels)), "targets")

    @property
    def data(self) -> np.ndarray:
        """The visible labels."""
        return self.labels

    def __getitem__(self, item: Any) -> Tensor:
        """Return the label vector (C,) of a sample, or a matrix for a slice."""
        return torch.from_numpy(self.labels[item].astype(np.float32))

    @property
    def uniques(self) -> set[int]:
        """Visible label ids that occur."""
        return set(np.flatnonzero(self.labels.any(axis=0)).tolist())

    def subset(self, indices: Sequence[int]) -> MultiHotTargets:
        """Return the targets at these positions."""
        return MultiHotTargets(self.labels[np.asarray(indices, dtype=np.int64)], self.annotated)

    def concat(self, other: MultiHotTargets) -> MultiHotTargets:
        """Append other targets."""
        both = [one.annotated for one in (self, other) if one.annotated is not None]
        alike = len(both) == 2 and np.array_equal(both[0], both[1])
        labels = np.concatenate([self.labels, other.labels])
        return MultiHotTargets(labels, self.annotated if alike else None)


def experience_data(
    data: Any,
    labels: np.ndarray,
    split: BaseSplit,
    others: Mapping[str, np.ndarray | None],
    rows: np.ndarray,
    visible: np.ndarray,
) -> TaskAwareSupervisedClassificationDataset:
    """Wrap rows of a data set for Avalanche as items ``(x, y, 0)``.

    Args:
        data: items start with the image and its label.
        labels: (n,) int64, or of a multi-label split zeros and ones (n, C) uint8; y is a row.
        split: whose ``ordered`` and ``boundaries`` become attributes.
        others: further attributes: values by sample, (n, ...), or None.
        rows: of the items.
        visible: visible classes, (C,) bool; a multi-label y is 0 for the others.
    """
    n = len(rows)
    if isinstance(data, AvalancheDataset):
        items: Any = data.subset(rows.tolist())
    else:
        if not isinstance(data, ImageSet):
            data = LabelledItems(data, labels)  # a user's items may lack the label
        items = Subset(data, rows)  # type: ignore[arg-type]
    if isinstance(split, MultiLabelSplit):
        targets: object = MultiHotTargets(labels[rows] * visible, visible)
        items = LabelledItems(items, targets, replace=True)
    else:
        # A list of integers would take much more memory.
        small = labels[rows].astype(np.min_scalar_type(split.n_classes))
        targets = DataAttribute(array(small.dtype.char, small.tobytes()), "targets")
    marks: dict[str, object] = {name: bool(getattr(split, name)) for name in CARRIED}
    if isinstance(split, DomainSplit):
        marks["domains"] = tuple(split.domains)
    carried = [
        DataAttribute(ConstantSequence(value, n), f"stream_{name}") for name, value in marks.items()
    ]
    named = [DataAttribute(v[rows], name) for name, v in others.items() if v is not None]
    attributes = [*named, targets, TaskLabels(_Zeros(0, n)), *carried]
    return TaskAwareSupervisedClassificationDataset([items], data_attributes=attributes)


class _Zeros(ConstantSequence):
    """Task labels whose empty subset has a first element.

    Avalanche reads the task label of an experience from element 0, also of an empty experience.
    """

    def __getitem__(self, index: object) -> object:
        return 0 if index == 0 else super().__getitem__(index)

    def subset(self, indices: Sequence[int]) -> ConstantSequence:
        return ConstantSequence(0, len(indices)) if len(indices) else _Zeros(0, 0)


class LazyStream(SequenceCLStream):
    """A stream that builds its experiences on first access and caches them.

    Slices share the experiences, whose ``origin_stream`` is the whole stream.

    Example:
        >>> from cl_prompts.scenarios import Split, benchmark_from_split
        >>> class Numbers(list):
        ...     targets = [0, 1, 0, 1]
        >>> data = Numbers((number, number % 2) for number in range(4))
        >>> split = Split.of("by hand", data.targets, [[0, 2], [3, 1]])
        >>> stream = benchmark_from_split(data, data, split).train_stream
        >>> second = stream[1]
        >>> second.indices.tolist(), second.classes_in_this_experience, second.previous_classes
        ([3, 1], {1}, {0})
        >>> list(second.dataset), stream.joint().indices.tolist()
        ([[3, 1, 0], [1, 1, 0]], [0, 1, 2, 3])

    Args:
        name: "train" or "test".
        data: returns the data set of rows with their visible classes.
        rows: data-set rows of each experience in stream order.
        present: visible classes of each experience, (experiences, classes) bool.
        split: whose ``ordered`` and ``boundaries`` become attributes of all experiences.
    """

    def __init__(
        self,
        name: str,
        data: DataOf,
        rows: Sequence[np.ndarray],
        present: np.ndarray,
        split: BaseSplit,
    ) -> None:
        self._data = data
        self._rows = rows
        self._present = present
        # Row t: classes of the experiences up to t.
        self._seen = np.logical_or.accumulate(present)
        # Task labels as in Avalanche's classic benchmarks.
        self._marks: dict[str, object] = {"task_label": 0, "task_labels": [0]}
        self._marks |= {name: getattr(split, name) for name in CARRIED}
        self._made: dict[int, DatasetExperience] = {}
        # Slices are copies and keep this reference.
        self._whole = self
        super().__init__(name, benchmark=None, set_stream_info=False)

    def _full_length(self) -> int:
        return len(self._rows)

    def _make_experience(self, experience_idx: int) -> DatasetExperience:
        index = range(len(self._rows))[experience_idx]  # allows negative indices
        if index not in self._made:
            masks = self._classes_by_time(index)
            self._made[index] = self._build(self._rows[index], index, masks)
        return self._made[index]

    def joint(self, experiences: Sequence[int] | None = None) -> DatasetExperience:
        """Merge these experiences (all by default) into one.

        It holds each image once, with every label that is visible in one of them.
        """
        chosen = list(range(len(self._rows)) if experiences is None else experiences)
        present = np.asarray(self._present[chosen].any(axis=0))
        rows = np.unique(np.concatenate([self._rows[i] for i in chosen]))
        return self._build(rows, 0, {"classes_in_this_experience": present})

    def _build(
        self, rows: np.ndarray, index: int, masks: dict[str, np.ndarray]
    ) -> DatasetExperience:
        data = self._data(rows, masks["classes_in_this_experience"])
        experience = DatasetExperience(dataset=data, current_experience=index)
        experience.origin_stream = self._whole
        experience.benchmark = self._whole.benchmark
        experience.indices = rows
        for name, mask in masks.items():
            setattr(experience, name, set(np.flatnonzero(mask).tolist()))
        for name, value in self._marks.items():
            setattr(experience, name, value)
        return experience

    def _classes_by_time(self, index: int) -> dict[str, np.ndarray]:
        seen = self._seen
        return {
            "classes_in_this_experience": self._present[index],
            "previous_classes": seen[index - 1] if index else np.zeros_like(seen[0]),
            "classes_seen_so_far": seen[index],
            "future_classes": seen[-1] & ~seen[index],
        }
