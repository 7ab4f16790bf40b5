"""Avalanche's data sets of a stream: they carry what the stream is, sets of classes, and multi-hot
targets, since Avalanche knows labels only as one integer per sample.

Avalanche's ``benchmark_with_validation_stream`` and ``split_online_stream`` build experiences from
nothing but the data set, whose attributes they keep. Strategies look there for what an experience
does not say (``cl_prompts.strategies.base.experience.mark_of``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.utils import (
    AvalancheDataset,
    DataAttribute,
    TaskAwareSupervisedClassificationDataset,
    TaskLabels,
)
from avalanche.benchmarks.utils.flat_data import ConstantSequence
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.datasets.classes import ignored_of
from cl_prompts.datasets.collate import LabelledItems, entries_of
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.scenarios.base_split import BaseSplit
from cl_prompts.scenarios.domain_incremental import DomainSplit
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.split import Split

#: the marks of an experience that go with its data
CARRIED = ("ordered", "boundaries")


class MultiHotTargets(DataAttribute):
    """Avalanche's ``targets`` attribute over a 0/1 label matrix, of which some classes may be
    hidden.

    Item i is the float32 vector (C,) of sample i, with zeros for hidden classes. ``uniques`` are
    the label ids that are visibly positive in some sample, ``val_to_idx`` gives the positions of
    each, ``count`` their number: where Avalanche itself would hash rows, each sample or each
    combination of labels would be a class of its own. Subsets share the matrix.

    Whatever Avalanche builds from integer labels (``ClassBalancedBuffer``, GDumb, DER, ER_ACE, MIR,
    GSS) has no meaning here and fails.

    Attributes:
        annotated: classes of which a zero says something, (C,) bool: the visible ones; None where
            parts with others were joined.

    Example:
        >>> matrix = np.array([[1, 0, 1], [0, 1, 1]], dtype=np.uint8)
        >>> targets = MultiHotTargets(matrix, mask=np.array([True, True, False]))
        >>> targets[0].tolist(), targets.val_to_idx
        ([1.0, 0.0, 0.0], {0: [0], 1: [1]})

    Args:
        matrix: 0/1 labels (n, C) uint8.
        rows: rows of the matrix that the samples have, (m,); None for all in order.
        mask: classes that are visible, (C,) bool; None for all.
    """

    def __init__(
        self, matrix: np.ndarray, rows: np.ndarray | None = None, mask: np.ndarray | None = None
    ) -> None:
        self.matrix = matrix
        self.rows = np.arange(len(matrix)) if rows is None else rows
        self.mask = np.ones(matrix.shape[1], dtype=bool) if mask is None else mask
        self.annotated: np.ndarray | None = self.mask
        super().__init__(self.rows, "targets")

    @property
    def data(self) -> np.ndarray:
        """The visible labels (m, C) uint8."""
        return self.matrix[self.rows] * self.mask

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: Any) -> Tensor:
        """The label vector (C,) of a sample, or a matrix of them for a slice."""
        return torch.from_numpy((self.matrix[self.rows[item]] * self.mask).astype(np.float32))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    @property
    def uniques(self) -> set[int]:
        """Label ids that are visibly positive in some sample."""
        return set(np.flatnonzero(self.data.any(axis=0)).tolist())

    @property
    def val_to_idx(self) -> dict[int, list[int]]:
        """Per visible label id the positions of the samples that have it."""
        visible = self.data
        return {c: np.flatnonzero(visible[:, c]).tolist() for c in sorted(self.uniques)}

    @property
    def count(self) -> dict[int, int]:
        """Per visible label id the number of samples that have it."""
        counts = self.data.sum(axis=0, dtype=np.int64)
        return {c: int(counts[c]) for c in sorted(self.uniques)}

    def subset(self, indices: Sequence[int]) -> MultiHotTargets:
        """The targets at some positions, on the same matrix."""
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        part = MultiHotTargets(self.matrix, rows, self.mask)
        part.annotated = self.annotated
        return part

    def concat(self, other: DataAttribute) -> MultiHotTargets:
        """These targets and then others; with other masks each part keeps its own.

        Raises:
            TypeError: the others are not multi-hot.
        """
        if not isinstance(other, MultiHotTargets):
            raise TypeError(f"multi-hot targets cannot be joined with {type(other).__name__}")
        alike = np.array_equal(self.mask, other.mask)
        # One matrix and one mask: rows alone are joined.
        if alike and self.matrix is other.matrix:
            joined = MultiHotTargets(
                self.matrix, np.concatenate([self.rows, other.rows]), self.mask
            )
        else:
            data = np.concatenate([self.data, other.data])
            joined = MultiHotTargets(data, mask=self.mask if alike else None)
        if not alike or self.annotated is None or other.annotated is None:
            joined.annotated = None
        return joined


class MaskedLabels(Dataset[tuple[Any, Tensor]]):
    """A map-style data set ``[i] -> (image, float32 label vector (C,))`` with zeros for hidden
    classes.

    Example:
        >>> targets = MultiHotTargets(np.eye(2, dtype=np.uint8))
        >>> MaskedLabels([("image 0", "..."), ("image 1", "...")], targets)[1]
        ('image 1', tensor([0., 1.]))

    Args:
        data: items open with the image; the rest of them is not used.
        targets: the label vectors, one per item.
    """

    def __init__(self, data: Any, targets: MultiHotTargets) -> None:
        self.data = data
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        return entries_of(self.data[index])[0], self.targets[index]


def single_label_data(
    data: Any, labels: np.ndarray, split: Split, domains: np.ndarray | None = None
) -> TaskAwareSupervisedClassificationDataset:
    """Avalanche's data set over ``data``, whose items open with an image and its label, as items
    ``(x, y, 0)``; ``labels`` (n,) int64, and ``domains`` (n,) names, which become its attribute of
    that name."""
    named = [] if domains is None else [DataAttribute(domains.tolist(), "domains")]
    attributes = [
        *named,
        DataAttribute(labels.tolist(), "targets"),
        TaskLabels(_Zeros(len(labels))),
        *_marks_of_stream(split, len(labels)),
    ]
    return TaskAwareSupervisedClassificationDataset(
        [_checked(data, labels)], data_attributes=attributes
    )


def multi_label_data(
    data: Any, matrix: np.ndarray, mask: np.ndarray, split: MultiLabelSplit
) -> TaskAwareSupervisedClassificationDataset:
    """Avalanche's data set over ``data``, whose items open with the image, as items ``(x, y, 0)``:
    y is a row of ``matrix``, (n, C) uint8, and 0 where the (C,) bool ``mask`` hides a class.

    Pairs that ``data`` ignores become its attribute of that name."""
    targets = MultiHotTargets(matrix, mask=mask)
    zeros = TaskLabels(_Zeros(len(matrix)))
    # Pairs that evaluation leaves out.
    ignored = ignored_of("pairs in .ignored", data, matrix)
    named = [] if ignored is None else [DataAttribute(ignored, "ignored")]
    attributes = [*named, targets, zeros, *_marks_of_stream(split, len(matrix))]
    return TaskAwareSupervisedClassificationDataset(
        [MaskedLabels(_checked(data, matrix), targets)], data_attributes=attributes
    )


def _checked(data: Any, labels: np.ndarray) -> Any:
    """The items of a user's own data set, which may have other labels than its targets."""
    own = not isinstance(data, ImageSet | AvalancheDataset)
    return LabelledItems(data, labels) if own else data


def _marks_of_stream(split: BaseSplit, n: int) -> list[DataAttribute[Any]]:
    """Attributes ``stream_ordered`` and ``stream_boundaries`` for the n samples of a stream, and
    ``stream_domains`` where it trains on domains."""
    marks: dict[str, Any] = {name: bool(getattr(split, name)) for name in CARRIED}
    if isinstance(split, DomainSplit):
        marks["domains"] = tuple(split.domains)
    return [
        DataAttribute(ConstantSequence(value, n), f"stream_{name}") for name, value in marks.items()
    ]


class _Zeros(ConstantSequence):
    """Avalanche's constant sequence, but with a first element even when empty.

    Avalanche reads the task label of an experience from its element 0, also when the experience is
    empty.
    """

    def __init__(self, size: int) -> None:
        super().__init__(0, size)

    def __getitem__(self, index: Any) -> Any:
        return 0 if index == 0 else super().__getitem__(index)

    def __iter__(self) -> Iterator[int]:
        return iter([0] * len(self))

    def subset(self, indices: Sequence[int]) -> _Zeros:
        return _Zeros(len(indices))
