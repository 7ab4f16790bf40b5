"""The multi-label split: tasks of one's own, the test set that grows, and what it prints."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from cl_prompts.scenarios import MultiLabelSplit, mlcil_split
from tests.scenarios.labels import some_labels

LABELS = [[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
TASKS = [[1, 0], [2, 0]]
VISIBLE = [[True, False, False], [False, True, True]]


def test_from_user_tasks() -> None:
    split = MultiLabelSplit.of("mine", LABELS, iter(TASKS), visible=VISIBLE, test_labels=LABELS)
    assert [task.classes for task in split] == [(0,), (1, 2)]
    assert [task.train_indices.tolist() for task in split] == TASKS
    assert split[0].train_indices is split.tasks[0]
    assert split.counts.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert (split.n_samples, split.n_unlabelled, split.n_labels) == (4, 1, 4)
    assert split.anchors is None
    assert not split.boundaries
    assert MultiLabelSplit.of("mine", LABELS, TASKS, boundaries=True).boundaries
    assert split.test_indices(0).tolist() == [0]
    assert split.test_indices(1).tolist() == split.test_indices(-1).tolist() == [0, 1, 2]
    assert split.describe().splitlines() == [
        "multi-label mine split: 2 tasks, 3 classes, 4 samples",
        "task  samples  classes  new classes",
        "   0        2        1            1",
        "   1        2        2            2",
        " all        4        3            3",
        "in several tasks: 1 samples; in no task: 1",
    ]


def test_no_test_set() -> None:
    split = mlcil_split(some_labels(40, 6), protocol="B0-C2")
    with pytest.raises(InputError, match="this split has no test set: make it with test_labels="):
        split.test_indices(0)
    assert split.with_test_labels(some_labels(9, 6)) == mlcil_split(
        some_labels(40, 6), protocol="B0-C2", test_labels=some_labels(9, 6)
    )
