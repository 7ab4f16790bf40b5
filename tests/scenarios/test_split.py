"""The single-label split: tasks of one's own, homes, and what it prints."""

from __future__ import annotations

import numpy as np

from cl_prompts.scenarios import Split


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
    assert split.describe().splitlines() == [
        "mine split: 3 tasks, 4 classes, 5 samples, seed=4",
        "task  samples  classes  new classes",
        "   0        3        2            2",
        "   1        0        0            0",
        "   2        2        2            1",
        " all        5        3            3",
        "in several tasks: 1 samples; in no task: 1",
    ]
