"""TensorBoard of a run agrees with its metrics.csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_prompts.experiments.results import results_table
from cl_prompts.experiments.runs import collect
from cl_prompts.experiments.tracking import ProgressLine
from tests.experiments.commands import PROBE, rows, run, summary


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    plain = ProgressLine.after_training_exp

    def after_training_exp(self: ProgressLine, strategy: Any, **kwargs: Any) -> None:
        plain(self, strategy, **kwargs)
        shown.append(self.bar.tasks[0].fields["auc"])

    monkeypatch.setattr(ProgressLine, "after_training_exp", after_training_exp)
    # The stream does not end at an anytime point: its end is a point of its own.
    code, (folder,) = run(tmp_path, "digits", *PROBE, "every=130")
    assert code == 0
    auc = summary(folder)["results"]["a_auc"]
    assert shown[-1] == f"A_AUC {100 * auc:.1f} %"
    (row,) = results_table(collect([folder]))
    assert row.cells[2] == f"{100 * auc:.1f} -"
    points = [float(r[3]) for r in rows(folder) if r[1:3] == ["anytime_accuracy", "seen"]]
    end = [float(r[3]) for r in rows(folder) if r[1:3] == ["task_end_accuracy", "seen"]][-1]
    assert auc == pytest.approx(sum([*points, end]) / (len(points) + 1), abs=1e-6)
    scalars = EventAccumulator(str(folder)).Reload().Scalars("accuracy/a_auc")
    assert scalars[-1].value == pytest.approx(auc, abs=1e-6)
