"""What a data set itself says of its stream, for functions of Avalanche that keep nothing else."""

from __future__ import annotations

import numpy as np
from avalanche.benchmarks.utils import DataAttribute, TaskAwareSupervisedClassificationDataset
from avalanche.benchmarks.utils.flat_data import ConstantSequence

from cl_prompts.scenarios.base_split import BaseSplit

#: the marks of an experience that go with its data
CARRIED = ("ordered", "boundaries")


def marks_of_stream(split: BaseSplit, n: int) -> list[DataAttribute[bool]]:
    """Attributes ``stream_ordered`` and ``stream_boundaries`` for the data set of a stream.

    Avalanche's ``benchmark_with_validation_stream`` and ``split_online_stream`` build experiences
    from nothing but the data set, whose attributes they keep. Strategies look there for what an
    experience does not say (``cl_prompts.strategies.base.experience.mark_of``).

    Args:
        split: of the stream.
        n: samples of the data set.
    """
    return [
        DataAttribute(ConstantSequence(bool(getattr(split, name)), n), f"stream_{name}")
        for name in CARRIED
    ]


def with_positions(
    data: TaskAwareSupervisedClassificationDataset,
) -> TaskAwareSupervisedClassificationDataset:
    """Number the samples of an experience, which are in stream order.

    The numbers ``stream_position``, 0 to n - 1, ascend in a subset that keeps the order.
    """
    position = DataAttribute(np.arange(len(data)), "stream_position")
    return data.update_data_attribute("stream_position", position)
