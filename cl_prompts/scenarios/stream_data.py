"""Avalanche's data sets of a stream, which carry what the stream is.

Avalanche's ``benchmark_with_validation_stream`` and ``split_online_stream`` build experiences from
nothing but the data set, whose attributes they keep. Strategies look there for what an experience
does not say (``cl_prompts.strategies.base.experience.mark_of``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from avalanche.benchmarks.utils import (
    DataAttribute,
    TaskAwareSupervisedClassificationDataset,
    TaskLabels,
)
from avalanche.benchmarks.utils.flat_data import ConstantSequence

from cl_prompts.scenarios.base_split import BaseSplit
from cl_prompts.scenarios.multi_hot import MaskedLabels, MultiHotTargets
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.split import Split

#: the marks of an experience that go with its data
CARRIED = ("ordered", "boundaries")


def single_label_data(
    data: Any, labels: np.ndarray, split: Split
) -> TaskAwareSupervisedClassificationDataset:
    """Make Avalanche's data set over ``data``, items ``(x, y, 0)``.

    Args:
        data: map-style data set whose items open with an image and its label.
        labels: (n,) int64.
        split: of the stream.
    """
    attributes = [
        DataAttribute(_Labels(labels), "targets"),
        TaskLabels(_Zeros(len(labels))),
        *_marks_of_stream(split, len(labels)),
    ]
    return TaskAwareSupervisedClassificationDataset([data], data_attributes=attributes)


def multi_label_data(
    data: Any, matrix: np.ndarray, mask: np.ndarray, split: MultiLabelSplit
) -> TaskAwareSupervisedClassificationDataset:
    """Make Avalanche's data set over ``data``, items ``(x, y, 0)``.

    Args:
        data: map-style data set whose items open with the image.
        matrix: its labels, (n, C) uint8 zeros and ones.
        mask: classes that are visible, (C,) bool; y is 0 elsewhere.
        split: of the stream.
    """
    targets = MultiHotTargets(matrix, mask=mask)
    zeros = TaskLabels(_Zeros(len(matrix)))
    attributes = [targets, zeros, *_marks_of_stream(split, len(matrix))]
    return TaskAwareSupervisedClassificationDataset(
        [MaskedLabels(data, targets)], data_attributes=attributes
    )


def with_positions(
    data: TaskAwareSupervisedClassificationDataset,
) -> TaskAwareSupervisedClassificationDataset:
    """Number the samples of an experience, which are in stream order.

    The numbers ``stream_position``, 0 to n - 1, ascend in a subset that keeps the order.
    """
    position = DataAttribute(np.arange(len(data)), "stream_position")
    return data.update_data_attribute("stream_position", position)


def _marks_of_stream(split: BaseSplit, n: int) -> list[DataAttribute[bool]]:
    """Attributes ``stream_ordered`` and ``stream_boundaries`` for the data set of a stream.

    Args:
        split: of the stream.
        n: samples of the data set.
    """
    return [
        DataAttribute(ConstantSequence(bool(getattr(split, name)), n), f"stream_{name}")
        for name in CARRIED
    ]


class _Labels(Sequence[int]):
    """Labels as Python integers out of an array that all experiences share; a list would take five
    times its memory."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, item: Any) -> Any:
        return int(self._values[item])


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
