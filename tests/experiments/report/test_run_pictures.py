"""The pictures of a run: those that it has numbers for, and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.report.run_pictures import (
    buffer_in_words,
    keys_in_words,
    pictures_of,
    usage_in_words,
)
from cl_prompts.experiments.run_folder.folder import EXAMPLES_FILE
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run, seal


def names(folder: Path) -> list[str]:
    """Short names of a run's pictures."""
    (run,) = collect([folder])
    return [picture.name for picture in pictures_of(run)]


def test_a_run_has_the_pictures_that_it_has_numbers_for(tmp_path: Path, mvp_run: Path) -> None:
    assert names(fake_run(tmp_path, "mvp")) == ["classes", "tasks", "usage"]
    assert names(fake_run(tmp_path, "linear_probe")) == ["classes", "tasks"]
    assert names(fake_run(tmp_path, "joint")) == []
    assert names(fake_run(tmp_path, "mvp", 2, n_tasks=1)) == ["classes", "usage"]
    assert names(mvp_run) == ["classes", "tasks", "usage", "keys", "buffer"]


def test_a_curve_that_was_not_written_by_class_has_no_picture_of_classes(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, "linear_probe")
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if "anytime_accuracy,class" not in line]
    (folder / "metrics.csv").write_text("".join(kept))
    seal(folder)
    assert names(folder) == ["tasks"]


def test_captions_say_what_is_measured(tmp_path: Path) -> None:
    (run,) = collect([fake_run(tmp_path, "mvp")])
    captions = {picture.name: picture.caption for picture in pictures_of(run)}
    assert captions["classes"].startswith("Accuracy of each class over samples seen")
    assert captions["tasks"].startswith("Accuracy on the classes first seen in each task")


def test_examples_are_shown_or_told_to_be_damaged(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, "joint")
    labels = np.eye(2, 10, dtype=bool)
    images = np.zeros((2, 3, 4, 4), np.uint8)
    np.savez(folder / EXAMPLES_FILE, images=images, truth=labels, predicted=labels)
    seal(folder)
    assert names(folder) == ["examples"]
    (folder / EXAMPLES_FILE).write_text("no archive")
    seal(folder)
    with pytest.raises(InputError, match=r"cannot read .*examples\.npz of a run"):
        names(folder)


def test_what_was_never_used_is_said() -> None:
    assert usage_in_words([[0, 0]], [np.nan]) == "2 prompts, none used"
    assert keys_in_words([[1.0]]) == "1 key"
    assert buffer_in_words([[3, 0], [0, 0]], "samples") == "empty after the last task"
