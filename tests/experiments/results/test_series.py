"""Measurements of a run as arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cl_prompts.errors import InputError
from cl_prompts.experiments.results import series
from cl_prompts.experiments.results.series import (
    DETAILED,
    class_matrix,
    curve_of,
    in_detail,
    key_similarity_of,
    stream_curve_of,
    stream_ends_of,
    task_matrix,
    task_sizes,
    usage_entropy,
    usage_matrix,
)
from cl_prompts.experiments.run_folder.folder import KEYS_FILE
from cl_prompts.experiments.run_folder.runs import Run, collect
from tests.experiments.fake_runs import fake_run, seal


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


def test_a_auc_is_the_mean_of_the_curve(mvp_run: Path) -> None:
    (run,) = collect([mvp_run])
    curve = curve_of(run)
    assert curve[-1][0] == run.summary["task_ends"][-1]
    mean = np.mean([value for _, value in curve])
    assert mean == pytest.approx(run.summary["results"]["a_auc"], abs=1e-6)
    # The end is a point that only the task's end has written.
    assert len(curve) == len(run.metrics["anytime_accuracy"]["seen"]) + 1


@pytest.mark.parametrize(
    ("rule", "more"),
    [
        ({"every": 8, "points": "default"}, {}),
        ({"every": 8, "points": "published"}, {}),
        ({"every": None, "points": "default"}, {}),
        ({"every": 8, "points": "default"}, {"whole_stream": True}),
    ],
)
def test_the_end_is_a_point_where_it_counts_as_one(rule: dict[str, Any], more: Any) -> None:
    metrics = {"task_end_accuracy": {"seen": [(10, 0.5), (20, 0.75)]}}
    run = Run(Path("run"), more, {"evaluation": rule}, metrics=metrics)
    counts = rule == {"every": 8, "points": "default"} and not more
    assert curve_of(run) == ([(20, 0.75)] if counts else [])


def test_classes_have_a_column_for_each_task_whose_end_was_evaluated_twice() -> None:
    ends = {"seen": [(10, 0.5), (20, 0.6), (20, 0.7)], "class:0": [(10, 0.5), (20, 0.6), (20, 0.7)]}
    run = Run(
        Path("run"), {"n_classes": 1, "task_ends": [10, 20]}, metrics={"task_end_accuracy": ends}
    )
    points, values = class_matrix(run)
    assert (points, values.tolist()) == ([10, 20], [[0.5, 0.7]])


def test_a_task_without_samples_keeps_the_accuracies_and_adds_no_usage(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, n_tasks=4, task_ends=[0, 100, 100, 200])
    lines = [
        "samples_seen,metric,scope,value",
        "100,task_end_accuracy,task:1,0.5",
        "200,task_end_accuracy,task:1,0.25",
    ]
    lines += [
        "200,task_end_accuracy,task:3,0.75",
        "100,prompt_usage,prompt:0,7",
        "200,prompt_usage,prompt:0,9",
    ]
    (folder / "metrics.csv").write_text("\n".join(lines))
    seal(folder)
    (run,) = collect([folder])
    nan = np.nan
    expected = [[nan] * 4, [nan, 0.5, 0.5, 0.25], [nan] * 4, [nan, nan, nan, 0.75]]
    assert np.array_equal(task_matrix(run), expected, equal_nan=True)
    assert usage_matrix(run).tolist() == [[0], [7], [0], [2]]


def test_several_epochs_are_moved_to_their_place_in_the_stream() -> None:
    summary = {"task_ends": [20, 60], "samples": 30}
    stream = {"counts": [[10, 0], [0, 20]]}
    seen = {"anytime_accuracy": {"seen": [(10, 0.5), (20, 0.6), (40, 0.7), (60, 0.8)]}}
    moved = stream_curve_of(Run(Path("run"), summary, stream=stream, metrics=seen))
    assert moved == [(5.0, 0.5), (10.0, 0.6), (20.0, 0.7), (30.0, 0.8)]
    once = {"task_ends": [10, 30], "samples": 30}
    kept = Run(Path("run"), once, stream=stream, metrics=seen)
    assert stream_curve_of(kept) == curve_of(kept)
    assert stream_ends_of(kept) == [10, 30]


def test_task_ends_lie_where_the_curve_is_drawn() -> None:
    stream = {"counts": [[10, 0], [0, 20]]}
    moved = Run(Path("run"), {"task_ends": [20, 60], "samples": 30}, stream=stream)
    assert stream_ends_of(moved) == [10, 30]
    part = Run(Path("run"), {"task_ends": [20, 40], "samples": 20}, stream=stream)
    assert stream_ends_of(part) == [20, 40]


def test_images_of_a_task_are_counted_once_whatever_their_labels() -> None:
    counts = [[200, 0], [300, 0]]
    assert task_sizes(Run(Path("run"), {}, stream={"counts": counts})) == [200, 300]
    several = {"counts": counts, "tasks": [[1, 2], [2, 3, 4]]}
    assert task_sizes(Run(Path("run"), {}, stream=several)) == [2, 3]


def test_entropy_in_bits() -> None:
    found = usage_entropy([[8, 8, 8, 8], [7, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert found[:3].tolist() == [2, 0, 1]
    assert np.isnan(found[3])


@given(arrays(float, (3, 5), elements=st.floats(0, 1e6)))
def test_entropy_lies_between_zero_and_equal_use(counts: np.ndarray) -> None:
    found = usage_entropy(counts)
    assert np.array_equal(np.isnan(found), counts.sum(1) == 0)
    known = found[~np.isnan(found)]
    assert ((known >= 0) & (known <= np.log2(5) + 1e-9)).all()


def test_a_damaged_key_file_is_told(tmp_path: Path) -> None:
    assert key_similarity_of(tmp_path) is None
    (tmp_path / KEYS_FILE).write_text("no archive")
    with pytest.raises(
        InputError, match=r"cannot read .*keys\.npz of a run: repeat the run or delete that file"
    ):
        key_similarity_of(tmp_path)
    for wrong in (np.zeros(3), np.zeros((2, 2, 2)), np.array([["a"]]), np.zeros((2, 2), int)):
        np.savez(tmp_path / KEYS_FILE, similarity=wrong)
        with pytest.raises(InputError, match=r"cannot read .*keys\.npz"):
            key_similarity_of(tmp_path)


@pytest.mark.parametrize("kind", ["array", "empty", "damaged", "bomb"])
def test_no_archive_of_arrays_ends_in_an_error_of_a_library(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / KEYS_FILE
    np.savez_compressed(file, similarity=np.arange(10_000.0).reshape(100, 100))
    if kind == "array":
        with file.open("wb") as array:
            np.save(array, np.zeros((2, 2)))
    elif kind == "bomb":
        monkeypatch.setattr(series, "TEXT", 2**20)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("more.npy", bytes(2**20))
        assert file.stat().st_size < 2**20
    else:
        content = bytearray(file.read_bytes()) if kind == "damaged" else bytearray()
        content[500:600] = bytes(100 * bool(content))
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*keys\.npz"):
        key_similarity_of(tmp_path)


@pytest.mark.parametrize("expected", [1, 7, 199, 200, 201, 399, 1000, 12_345])
def test_at_most_so_many_evaluations_are_written_in_detail_and_the_last_is(expected: int) -> None:
    chosen = [n for n in range(1, expected + 1) if in_detail(n, expected)]
    assert len(chosen) == min(expected, DETAILED)
    assert chosen[-1] == expected
