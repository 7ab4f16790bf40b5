"""What a data set itself says of its stream, for functions of Avalanche that keep nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from avalanche.benchmarks.utils import DataAttribute, TaskAwareSupervisedClassificationDataset
from avalanche.benchmarks.utils.flat_data import ConstantSequence

#: the marks of an experience that go with its data
CARRIED = ("ordered", "boundaries")


def marked(
    data: TaskAwareSupervisedClassificationDataset, marks: Mapping[str, Any]
) -> TaskAwareSupervisedClassificationDataset:
    """Let a data set carry the marks of its stream and the positions of its samples.

    Avalanche's ``benchmark_with_validation_stream`` and ``split_online_stream`` build experiences
    from nothing but the data set, whose attributes they keep. Strategies look there for what an
    experience does not say (``cl_prompts.strategies.base.experience.mark_of``).

    Args:
        data: of one experience, in stream order.
        marks: of the stream; those in ``CARRIED`` become ``stream_ordered`` and
            ``stream_boundaries``.

    Returns:
        The data with these attributes and ``stream_position``, 0 to n - 1: ascending in a subset
        that keeps the order.
    """
    n = len(data)
    for name in CARRIED:
        carried = f"stream_{name}"
        value = ConstantSequence(bool(marks[name]), n)
        data = data.update_data_attribute(carried, DataAttribute(value, carried))
    position = DataAttribute(np.arange(n), "stream_position")
    return data.update_data_attribute("stream_position", position)
