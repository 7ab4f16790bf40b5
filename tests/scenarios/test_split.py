"""Splits from tasks of one's own, the test set that grows, and what they print."""

import numpy as np

from cl_prompts.scenarios import MultiLabelSplit, Split

LABELS = [[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
TASKS = [[1, 0], [2, 0]]
VISIBLE = [[True, False, False], [False, True, True]]


def test_from_user_tasks() -> None:
    tasks = (np.array(rows) for rows in ([3, 0, 1], [], [2, 3]))
    split = Split.of("mine", [0, 1, 2, 0, 3], tasks, boundaries=True, parameters={"seed": 4})
    assert split.name == "mine"
    assert [rows.tolist() for rows in split] == [[3, 0, 1], [], [2, 3]]
    assert split.counts.tolist() == [[2, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]]
    assert split.n_samples == 5
    assert split.parameters == {"seed": 4}
    assert split.boundaries
    assert not Split.of("mine", [0], [[0]]).boundaries
    assert split.homes.tolist() == [-1] * 4
    assert split.disjoint_classes == split.blurry_classes == ((), (), ())
    assert str(split).splitlines() == [
        "mine split: 3 tasks, 4 classes, 5 samples, seed=4",
        "task  samples  classes  new classes",
        "   0        3        2            2",
        "   1        0        0            0",
        "   2        2        2            1",
        " all        5        3            3",
        "in several tasks: 1 samples; in no task: 1",
    ]


def test_several_labels_from_user_tasks() -> None:
    split = MultiLabelSplit.of("mine", LABELS, iter(TASKS), visible=VISIBLE)
    assert split.visible.tolist() == VISIBLE
    assert [rows.tolist() for rows in split] == TASKS
    assert split.counts.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert split.n_samples == 4
    assert split.anchors is None
    assert not split.boundaries
    assert MultiLabelSplit.of("mine", LABELS, TASKS, boundaries=True).boundaries
    tested = [[1, 0, 0], *LABELS]
    assert [split.test_indices(tested, task).tolist() for task in (0, 1)] == [[0, 1], [0, 1, 2, 3]]
    assert str(split).splitlines() == [
        "multi-label mine split: 2 tasks, 3 classes, 4 samples",
        "task  samples  classes  new classes",
        "   0        2        1            1",
        "   1        2        2            2",
        " all        4        3            3",
        "in several tasks: 1 samples; in no task: 1",
    ]
