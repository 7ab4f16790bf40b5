"""Promises of every split, single-label or multi-label, of this package or of a user."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cl_prompts.scenarios import (
    BaseSplit,
    MultiLabelSplit,
    Split,
    class_incremental_split,
    disjoint_split,
    mlcil_split,
    si_blurry_multi_label_split,
    si_blurry_split,
)
from tests.scenarios.labels import some_labels

LABELS = np.arange(120) % 12
MATRIX = some_labels(60, 12)
TASKS = [[5, 0, 7], [], [1, 2, 3, 4, 0]]
SPLITS: dict[str, BaseSplit] = {
    "Si-Blurry": si_blurry_split(LABELS, n_tasks=3, leftover="drop"),
    "disjoint": disjoint_split(LABELS, n_tasks=3),
    "class-incremental": class_incremental_split(LABELS, n_tasks=3),
    "by hand": Split.of("by hand", LABELS, TASKS, parameters={"order": (5, 0), "rate": 0.5}),
    "multi-label class-incremental": mlcil_split(MATRIX, protocol="B4-C4"),
    "multi-label Si-Blurry": si_blurry_multi_label_split(MATRIX, n_tasks=3),
    "multi-label by hand": MultiLabelSplit.of("by hand", MATRIX, TASKS, parameters={"seed": 3}),
}
pytestmark = pytest.mark.parametrize("name", SPLITS)


def test_is_a_read_only_sequence_over_tasks_that_counts_classes(name: str) -> None:
    split = SPLITS[name]
    assert len(split) == split.n_tasks == len(list(split)) == 3
    assert split.n_classes == 12
    assert split.sizes == [len(rows) for rows in split.tasks]
    assert len(split[1:]) == 2
    assert {rows.dtype for rows in split.tasks} == {np.dtype(np.int64)}
    with pytest.raises(IndexError):
        split[3]
    with pytest.raises(ValueError, match="read-only"):
        split.tasks[0][:] = 0
    with pytest.raises(ValueError, match="read-only"):
        split.counts[0, 0] = 1
    with pytest.raises(AttributeError):
        split.n_samples = 2
    assert np.array_equal(split.visible, split.counts > 0)
    for task in range(3):
        assert np.array_equal(split.seen[task], split.counts[: task + 1].any(axis=0))
    rows = np.concatenate(split.tasks).tolist()
    assert split.occurrences.tolist() == [rows.count(row) for row in range(split.n_samples)]
    assert split.ordered is not split.boundaries


@pytest.mark.parametrize(
    "change",
    [
        lambda split: {"name": "other"},
        lambda split: {"boundaries": not split.boundaries},
        lambda split: {"parameters": {"seed": 99}},
        lambda split: {"n_samples": split.n_samples + 1},
        lambda split: {"counts": split.counts + 1},
        lambda split: {"tasks": [rows[::-1] for rows in split.tasks]},
        lambda split: {"tasks": [[], *split.tasks[1:]]},
    ],
)
def test_equal_when_all_fields_are(name: str, change: Any) -> None:
    split = SPLITS[name]
    assert replace(split) == split
    changed = replace(split, **change(split))
    assert changed != split
    assert split != "a split"
    assert [other for other in SPLITS.values() if other == split] == [split]
