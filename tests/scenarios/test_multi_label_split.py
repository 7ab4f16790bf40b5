"""The multi-label split: tasks of one's own, the test set that grows, and what it prints."""

from __future__ import annotations

from cl_prompts.scenarios import MultiLabelSplit

LABELS = [[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
TASKS = [[1, 0], [2, 0]]
VISIBLE = [[True, False, False], [False, True, True]]


def test_from_user_tasks() -> None:
    split = MultiLabelSplit.of("mine", LABELS, iter(TASKS), visible=VISIBLE)
    assert [task.classes for task in split] == [(0,), (1, 2)]
    assert [task.train_indices.tolist() for task in split] == TASKS
    assert split[0].train_indices is split.tasks[0]
    assert split.counts.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert split.n_samples == 4
    assert split.anchors is None
    assert not split.boundaries
    assert MultiLabelSplit.of("mine", LABELS, TASKS, boundaries=True).boundaries
    assert [split.test_indices(LABELS, task).tolist() for task in (0, 1)] == [[0], [0, 1, 2]]
    assert split.describe().splitlines() == [
        "multi-label mine split: 2 tasks, 3 classes, 4 samples",
        "task  samples  classes  new classes",
        "   0        2        1            1",
        "   1        2        2            2",
        " all        4        3            3",
        "in several tasks: 1 samples; in no task: 1",
    ]
