"""TensorBoard of a run agrees with its metrics.csv."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.results.sections import results_table
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.commands import PROBE, rows, summary


@pytest.mark.parametrize(
    ("tag", "metric", "scope"),
    [
        ("accuracy/anytime", "anytime_accuracy", "seen"),
        ("accuracy/task_end", "task_end_accuracy", "seen"),
        ("task_accuracy/task_1", "task_end_accuracy", "task:1"),
        ("loss/train", "loss", "train"),
        ("forgetting", "forgetting", "seen"),
        ("prompt_usage_entropy", "prompt_usage_entropy", "task"),
    ],
)
def test_scalars_are_those_of_the_file(mvp_run: Path, tag: str, metric: str, scope: str) -> None:
    written = [(int(r[0]), float(r[3])) for r in rows(mvp_run) if r[1:3] == [metric, scope]]
    shown = EventAccumulator(str(mvp_run)).Reload().Scalars(tag)
    assert written
    assert [event.step for event in shown] == [samples for samples, _ in written]
    values = [value for _, value in written]
    assert [event.value for event in shown] == pytest.approx(values, abs=1e-6)


def test_pictures_and_histograms(mvp_run: Path) -> None:
    tags = EventAccumulator(str(mvp_run)).Reload().Tags()
    assert {"stream", "class_accuracy", "keys"} <= set(tags["images"])
    assert {"prompt_usage", "buffer"} <= set(tags["histograms"] + tags["tensors"])


def test_one_a_auc_in_the_progress_line_the_table_and_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The stream does not end at an anytime point: its end is a point of its own.
    assert main(["run", "digits", *PROBE, "every=30", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out.splitlines()
    (folder,) = (file.parent for file in tmp_path.rglob("summary.json"))
    auc = summary(folder)["results"]["a_auc"]
    (line,) = (
        line for line in told if line.startswith("run 1 of 1, linear_probe seed 3, finished")
    )
    assert line.endswith(f", A_AUC {100 * auc:.1f}")
    (row,) = results_table(collect([folder]))
    assert row.cells[2] == f"{100 * auc:.1f} -"
    points = [float(r[3]) for r in rows(folder) if r[1:3] == ["anytime_accuracy", "seen"]]
    end = [float(r[3]) for r in rows(folder) if r[1:3] == ["task_end_accuracy", "seen"]][-1]
    assert auc == pytest.approx(sum([*points, end]) / (len(points) + 1), abs=1e-6)
    scalars = EventAccumulator(str(folder)).Reload().Scalars("accuracy/a_auc")
    assert scalars[-1].value == pytest.approx(auc, abs=1e-6)
