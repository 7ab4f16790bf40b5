"""History of a run as arrays."""

from pathlib import Path

import numpy as np
import pytest

from cl_prompts.experiments.results.history import (
    BeforeAfter,
    before_after,
    class_matrix,
    curve_of,
    stream_curve_of,
    task_matrix,
    usage_matrix,
)
from cl_prompts.experiments.run_folder.runs import RunRecord, collect


def test_matrices_read_back_what_was_written(runs_folder: Path) -> None:
    run = next(r for r in collect([runs_folder]) if r.summary["strategy"] == "mvp")
    counts = np.array(run.stream["counts"])
    ends = counts.sum(1).cumsum()
    first = counts.astype(bool).argmax(0)
    _, classes = class_matrix(run)
    tasks = task_matrix(run)
    points = [x for x, _ in run.metrics["anytime_accuracy"]["seen"]]
    for c in range(10):
        start = ends[first[c] - 1] if first[c] else 0
        assert (~np.isnan(classes[c])).tolist() == [x > start for x in points]
    assert tasks.shape == (5, 5)
    assert np.isnan(tasks[np.tril_indices(5, -1)]).all()
    assert run.metrics["task_end_accuracy"]["task:0"][1] == (ends[1], tasks[0, 1])
    totals = np.outer(ends, np.arange(1, 11)) // 11
    assert np.array_equal(usage_matrix(run).cumsum(0), totals)


@pytest.mark.parametrize("every", [8, None])
@pytest.mark.parametrize("points", ["default", "published"])
@pytest.mark.parametrize("whole", [False, True])
def test_the_end_is_a_point_by_the_default_rule(
    every: int | None, points: str, whole: bool
) -> None:
    rule = {"every": every, "points": points}
    metrics = {"task_end_accuracy": {"seen": [(10, 0.5), (20, 0.75)]}}
    run = RunRecord(Path("run"), {"whole_stream": whole}, {"evaluation": rule}, metrics=metrics)
    counts = every and points == "default" and not whole
    assert curve_of(run) == ([(20, 0.75)] if counts else [])


def test_a_task_without_samples_keeps_the_accuracies_and_adds_no_usage() -> None:
    metrics = {
        "task_end_accuracy": {"task:1": [(100, 0.5), (200, 0.25)], "task:3": [(200, 0.75)]},
        "prompt_usage": {"prompt:0": [(100, 7.0), (200, 9.0)]},
    }
    summary = {"n_tasks": 4, "task_ends": [0, 100, 100, 200]}
    run = RunRecord(Path("run"), summary, metrics=metrics)
    nan = np.nan
    expected = [[nan] * 4, [nan, 0.5, 0.5, 0.25], [nan] * 4, [nan, nan, nan, 0.75]]
    assert np.array_equal(task_matrix(run), expected, equal_nan=True)
    assert usage_matrix(run).tolist() == [[0], [7], [0], [2]]


def test_points_of_several_epochs_are_moved_to_samples_of_the_stream() -> None:
    summary = {"task_ends": [20, 60], "samples": 30}
    stream = {"sizes": [10, 20]}
    seen = {"anytime_accuracy": {"seen": [(10, 0.5), (20, 0.6), (40, 0.7), (60, 0.8)]}}
    moved = RunRecord(Path("run"), summary, stream=stream, metrics=seen)
    assert stream_curve_of(moved) == [(5.0, 0.5), (10.0, 0.6), (20.0, 0.7), (30.0, 0.8)]
    part = RunRecord(Path("run"), {**summary, "samples": 20}, stream=stream, metrics=seen)
    assert stream_curve_of(part) == curve_of(part)
    once = {"task_ends": [10, 30], "samples": 30}
    seen = {"anytime_accuracy": {"seen": [(5, 0.5), (17, 0.6), (30, 0.7)]}}
    kept = RunRecord(Path("run"), once, stream=stream, metrics=seen)
    assert stream_curve_of(kept) == curve_of(kept)


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
    table = {row.name: row.texts[2:] for row in before_after(run)}
    assert table["all test images"] == ["90.0 %", "70.0 %", "-20.0"]
    # A mean average precision over fewer classes does not estimate the same value.
    run.summary["multi_label"] = True
    run.metrics["task_end_map"] = ends
    assert before_after(run)[0] == ("all test images", None, 0.7, 0)
    assert table["classes known before"] == ["65.0 %", "80.0 %", "+15.0"]
    assert table["new classes"] == ["", "40.0 %", ""]
    assert table["cat"] == ["80.0 %", "60.0 %", "-20.0"]
    assert BeforeAfter("cat", 0.75, 0.875, 24).texts[-1] == "+12.5 (-10.1 to +34.0)"
