"""Scores before a run learned on, and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_prompts.experiments.results.before_after import before_after
from cl_prompts.experiments.run_folder.runs import RunRecord


def test_groups_are_means_over_their_classes() -> None:
    ends = {
        "seen": [(10, 0.9), (20, 0.7)],
        "class:0": [(10, 0.8), (20, 0.6)],
        "class:1": [(20, 1.0)],
        "class:2": [(20, 0.4)],
    }
    run = RunRecord(
        Path("run"),
        {"class_names": ["cat", "dog", "emu"], "status": "finished"},
        before={"score": 0.9, "by_class": [0.8, 0.5]},
        metrics={"task_end_accuracy": ends},
    )
    table = {row.name: (row.before, row.after, row.change) for row in before_after(run)}
    assert table["all test images"] == (0.9, 0.7, pytest.approx(-0.2))
    # A mean average precision over fewer classes is no other value of the same.
    run.summary["multi_label"] = True
    run.metrics["task_end_map"] = ends
    assert before_after(run)[0] == ("all test images", None, 0.7)
    assert table["classes known before"] == (pytest.approx(0.65), 0.8, pytest.approx(0.15))
    assert table["new classes"] == (None, 0.4, None)
    assert table["cat"] == (0.8, 0.6, pytest.approx(-0.2))
